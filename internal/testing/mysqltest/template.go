package mysqltest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"ordinal/internal/testing/command"
	"ordinal/internal/testing/filelock"
)

// Template returns the path of an initialised data directory: root@localhost without a password, no binary logs, an empty
// gtid_executed and no server UUID, so that servers on copies of it share one history. It is made once per machine and server version
// and must not be changed: see CopyTemplate.
func (d Distribution) Template(ctx context.Context) (string, error) {
	// The path is part of the key: two builds of one version may differ.
	sum := sha256.Sum256([]byte(d.origin))
	dir := filepath.Join(d.cache, fmt.Sprintf("template-%v-%x", d.Version, sum[:4]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	unlock, err := filelock.Lock(ctx, dir+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	work, err := os.MkdirTemp(d.cache, "tmp-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	data := filepath.Join(work, "data")
	if err := d.Initialize(ctx, data, "--disable-log-bin"); err != nil {
		return "", err
	}
	if err := os.Rename(data, dir); err != nil {
		return "", err
	}
	return dir, nil
}

// Initialize makes a new data directory with root@localhost without a password. args are further options for mysqld; those that shape
// the data, such as --innodb-page-size, must be given again to each start.
func (d Distribution) Initialize(ctx context.Context, dataDir string, args ...string) error {
	args = append([]string{"--initialize-insecure", "--datadir=" + dataDir, "--loose-innodb-redo-log-capacity=8M"}, args...)
	cmd := d.Command(args...)
	if err := command.Run(ctx, cmd); err != nil {
		return fmt.Errorf("initialise a data directory: %w", err)
	}
	err := os.Remove(filepath.Join(dataDir, "auto.cnf")) // a server makes its own UUID
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

// CopyTemplate copies the template to a path that does not exist yet.
func (d Distribution) CopyTemplate(ctx context.Context, dataDir string) error {
	template, err := d.Template(ctx)
	if err != nil {
		return err
	}
	return CopyDataDir(dataDir, template)
}

// CopyDataDir copies the data directory of a server that is not running. Files become files of their own, with holes where the
// original has long runs of zeros. Sockets and the server's temporary tablespace are left out.
func CopyDataDir(to, from string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		switch {
		case entry.IsDir():
			return os.Mkdir(target, 0o750)
		case entry.Type() == fs.ModeSymlink:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case entry.Type().IsRegular() && entry.Name() != "ibtmp1":
			return copySparse(target, path)
		}
		return nil
	})
}

func copySparse(to, from string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	buf := make([]byte, 64<<10)
	for offset := int64(0); ; {
		n, err := io.ReadFull(src, buf)
		if n > 0 && !isZero(buf[:n]) {
			if _, err := dst.WriteAt(buf[:n], offset); err != nil {
				return err
			}
		}
		offset += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return dst.Truncate(offset)
		}
		if err != nil {
			return err
		}
	}
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
