package containers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// A Volume is what a claim is bound to. It outlives its Pod.
type Volume struct {
	path string // where the node has mounted it
	disk string // file with the file system; "" for a directory of the machine's own
}

// newVolume makes an empty volume. With a size in bytes it is a file system of its own, an ext4 in a file: it is full when it is full.
func newVolume(dir string, size int64) (*Volume, error) {
	v := &Volume{path: filepath.Join(dir, "mounted")}
	if err := os.MkdirAll(v.path, 0o755); err != nil {
		return nil, err
	}
	if size == 0 {
		return v, os.Mkdir(filepath.Join(v.path, "lost+found"), 0o700) // as a new disk has
	}
	v.disk = filepath.Join(dir, "disk")
	if err := sized(v.disk, size); err != nil {
		return nil, err
	}
	// Without the share that is reserved for root nothing differs between its "full" and mysqld's.
	if _, err := tool("mkfs.ext4", "-q", "-F", "-m", "0", v.disk); err != nil {
		return nil, err
	}
	_, err := tool("mount", "-o", "loop", v.disk, v.path)
	return v, err
}

func sized(file string, size int64) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// filler is a file that whoever looks at the volume does not count as theirs.
const filler = ".filler"

// Fill lets somebody else take all but a rest of a volume that has a size. Those who use it may go on writing meanwhile.
func (v *Volume) Fill(rest int64) error {
	free, err := v.free()
	if err != nil {
		return err
	}
	path := filepath.Join(v.path, filler)
	if _, err := tool("fallocate", "-l", strconv.FormatInt(max(free-rest-64<<20, 1), 10), path); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	for block := make([]byte, 256<<10); err == nil; { // to the last byte: what is free by count may not be there
		_, err = file.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("fill %s: %w", v.path, err)
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(size-rest), file.Sync()); err != nil {
		return err
	}
	if free, err = v.free(); err == nil && free > rest+rest/2 {
		err = fmt.Errorf("%s has %d bytes free after it was filled", v.path, free)
	}
	return err
}

// MakeRoom takes away again what Fill has left.
func (v *Volume) MakeRoom() error { return os.Remove(filepath.Join(v.path, filler)) }

func (v *Volume) free() (int64, error) {
	var s unix.Statfs_t
	err := unix.Statfs(v.path, &s)
	return int64(s.Bavail) * s.Bsize, err
}

// Path is where the volume's files are.
func (v *Volume) Path() string { return v.path }

// Glob returns what there is on the volume, by patterns relative to its root.
func (v *Volume) Glob(pattern string) []string {
	found, err := filepath.Glob(filepath.Join(v.path, pattern))
	if err != nil {
		panic(err) // the pattern is a constant
	}
	return found
}

// remove destroys the volume. Nothing may use it any more.
func (v *Volume) remove() error {
	if v.disk != "" {
		if _, err := tool("umount", v.path); err != nil {
			return err
		}
	}
	return os.RemoveAll(filepath.Dir(v.path))
}

func tool(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return command(ctx, name, args...)
}

// mount makes what a Pod's volumes are on its node, by name: claims as they are, the others new.
func (p *Pod) mount() (map[string]string, error) {
	paths := map[string]string{}
	for _, v := range p.spec.Volumes {
		path, err := p.prepare(v)
		if err != nil {
			return nil, fmt.Errorf("volume %s of %s: %w", v.Name, p.Name, err)
		}
		paths[v.Name] = path
	}
	for name, claim := range p.claims {
		paths[name] = claim.path
		if err := p.giveToGroup(claim.path); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

func (p *Pod) prepare(v corev1.Volume) (string, error) {
	path := filepath.Join(p.dir, "volumes", v.Name)
	if err := errors.Join(os.RemoveAll(path), os.MkdirAll(path, 0o755)); err != nil {
		return "", err
	}
	switch {
	case v.EmptyDir != nil:
		if err := os.Chmod(path, 0o777); err != nil { // as a kubelet makes it
			return "", err
		}
		return path, p.giveToGroup(path)
	case v.Secret != nil:
		return path, p.project(v.Secret, path)
	case v.PersistentVolumeClaim != nil:
		claim := p.cluster.claim(v.PersistentVolumeClaim.ClaimName)
		if claim == nil {
			return "", fmt.Errorf("there is no claim %q", v.PersistentVolumeClaim.ClaimName)
		}
		return claim.path, p.giveToGroup(claim.path)
	}
	return "", errors.New("a kind of volume that this package does not know")
}

// giveToGroup makes the top of a volume writable for the Pod's fsGroup: with fsGroupChangePolicy OnRootMismatch, and new volumes, that is all
// that a kubelet does.
func (p *Pod) giveToGroup(path string) error {
	group := p.spec.SecurityContext.FSGroup
	if group == nil {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return errors.Join(os.Chown(path, -1, int(*group)), os.Chmod(path, info.Mode().Perm()|os.ModeSetgid|0o070))
}

// project writes a Secret's keys as files.
func (p *Pod) project(v *corev1.SecretVolumeSource, path string) error {
	secret := p.cluster.manifest.Secrets[v.SecretName]
	optional := v.Optional != nil && *v.Optional
	if secret == nil {
		if optional {
			return nil
		}
		return fmt.Errorf("there is no Secret %q", v.SecretName)
	}
	items := v.Items
	if items == nil {
		for key := range secret.Data {
			items = append(items, corev1.KeyToPath{Key: key, Path: key})
		}
	}
	for _, item := range items {
		value, ok := secret.Data[item.Key]
		if !ok && optional {
			continue
		}
		if !ok {
			return fmt.Errorf("the Secret %s has no key %q", v.SecretName, item.Key)
		}
		file := filepath.Join(path, item.Path)
		if err := os.WriteFile(file, value, 0o400); err != nil {
			return err
		}
		if err := errors.Join(os.Chmod(file, os.FileMode(*v.DefaultMode)), os.Chown(file, 0, int(*p.spec.SecurityContext.FSGroup))); err != nil {
			return err
		}
	}
	return nil
}
