package dirstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ordinal/backup/store"
)

const (
	unfinishedDir = ".ordinal-unfinished"
	unfinished    = "put-" // and 26 letters and digits by chance
	blockSize     = 1 << 20
	// maxTries is how often a directory may go away between its making and its use, by others who remove what they emptied.
	maxTries = 100
)

// Put implements [store.Writer].
func (s *Store) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	return s.put(ctx, name, size, r, func(p *place, t *temp) error {
		err := p.Rename(t.name, name)
		if err == nil {
			t.name = ""
		}
		return err
	})
}

// PutIfAbsent implements [store.Writer]. On a file system that can neither link(2) nor rename without replacing it is an error.
func (s *Store) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	if err := store.CheckSmall(name, data); err != nil {
		return err
	}
	return s.put(ctx, name, int64(len(data)), bytes.NewReader(data), func(p *place, t *temp) error {
		err := p.linkNew(t, name)
		if errors.Is(err, fs.ErrExist) {
			err = &store.Error{Op: "put", Name: name, Kind: store.ErrExists}
		}
		return err
	})
}

func (s *Store) put(ctx context.Context, name string, size int64, r io.Reader, publish func(*place, *temp) error) error {
	if err := store.CheckName(name); err != nil {
		return err
	}
	p, err := s.enter(ctx, "put", name)
	if err != nil {
		return err
	}
	defer p.Close()
	if _, err := p.lstat(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p.error(err) // a symbolic link
	}
	t, err := p.newTemp()
	if err != nil {
		return p.error(p.notMissing(err))
	}
	defer t.discard()
	if _, err := io.CopyBuffer(struct{ io.Writer }{t.f}, struct{ io.Reader }{store.Exact(ctx, r, size)}, make([]byte, blockSize)); err != nil {
		return p.error(err)
	}
	if err := t.f.Sync(); err != nil {
		return p.error(err)
	}
	if ctx.Err() != nil {
		return p.error(context.Cause(ctx))
	}
	for try := 1; ; try++ {
		err := p.makeDirs(path.Dir(name))
		if err == nil {
			err = publish(p, t)
		}
		if errors.Is(err, fs.ErrNotExist) && try < maxTries {
			continue // somebody emptied the directory, and removed it
		}
		if err != nil {
			return p.error(p.notMissing(err))
		}
		break
	}
	// All of them: a directory that is there already may be that of another writer who has not come to its sync.
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		if err := p.syncDir(dir); err != nil {
			return p.error(p.notMissing(err))
		}
		if dir == "." {
			return nil
		}
	}
}

// notMissing keeps "no such file" about our own files from being taken for "no such object".
func (p *place) notMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &store.Error{Op: p.op, Name: p.name, Kind: store.ErrUnavailable, Err: fmt.Errorf("somebody else removes files in %s: %w", p.dir, err)}
	}
	return err
}

// makeDirs makes dir and those above it. None of them may be anything but a directory.
func (p *place) makeDirs(dir string) error {
	if dir == "." {
		return nil
	}
	if err := p.makeDirs(path.Dir(dir)); err != nil {
		return err
	}
	err := p.Mkdir(dir, dirMode)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	st, err := p.Lstat(dir)
	if err == nil && !st.IsDir() {
		err = fmt.Errorf("%s is not a directory", path.Join(p.dir, dir))
	}
	return err
}

// temp is an unfinished file. Its lock says that somebody is at work on it.
type temp struct {
	place *place
	name  string // empty once it is renamed
	f     *os.File
}

func (p *place) newTemp() (*temp, error) {
	for try := 1; ; try++ {
		if err := p.makeDirs(unfinishedDir); err != nil {
			return nil, err
		}
		t := &temp{place: p, name: path.Join(unfinishedDir, unfinished+rand.Text())}
		f, err := p.OpenFile(t.name, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, fileMode)
		if errors.Is(err, fs.ErrNotExist) && try < maxTries {
			continue
		}
		if err != nil {
			return nil, err
		}
		t.f = f
		// Where there are no locks the age alone protects it. One that is held is a sweeper's, who came in between.
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK && try < maxTries {
			t.discard()
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err == nil && st.Nlink == 0 && try < maxTries {
			t.discard()
			continue
		}
		return t, nil
	}
}

// discard removes what was not renamed. Errors are for the next Sweep.
func (t *temp) discard() {
	if t.name != "" {
		_ = t.place.Remove(t.name)
	}
	_ = t.f.Close() // synced, where it matters
}

// linkNew gives the file its name if nothing has that yet, or returns fs.ErrExist.
func (p *place) linkNew(t *temp, name string) error {
	err := p.Link(t.name, name)
	switch {
	case errors.Is(err, fs.ErrExist):
		// NFS: an answer that was lost and asked for again says EEXIST although it was us. See link(2), BUGS.
		var st unix.Stat_t
		there, statErr := p.Lstat(name)
		mine, mineErr := t.f.Stat()
		if statErr == nil && mineErr == nil && os.SameFile(there, mine) && unix.Fstat(int(t.f.Fd()), &st) == nil && st.Nlink == 2 {
			return nil
		}
		return err
	case err == nil || !noLinks(err):
		return err
	}
	from, err := p.Open(path.Dir(t.name))
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := p.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer to.Close()
	err = unix.Renameat2(int(from.Fd()), path.Base(t.name), int(to.Fd()), path.Base(name), unix.RENAME_NOREPLACE)
	if err == nil {
		t.name = ""
		return nil
	}
	if noLinks(err) || errors.Is(err, unix.EINVAL) {
		return &store.Error{Op: "put", Name: name, Err: fmt.Errorf("the file system of %s has neither links nor a rename that does not replace: %w", p.dir, err),
			Remedy: "use a file system with hard links, or an S3-compatible store"}
	}
	return err
}

// noLinks says whether err is that of a file system without hard links.
func noLinks(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}

// Sweep implements [store.Keeper].
func (s *Store) Sweep(ctx context.Context, age time.Duration) (removed int, err error) {
	p, err := s.enter(ctx, "sweep", "")
	if err != nil {
		return 0, err
	}
	defer p.Close()
	entries, err := p.readDir(unfinishedDir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, p.error(err)
	}
	for _, entry := range entries {
		if ctx.Err() != nil {
			return removed, p.error(context.Cause(ctx))
		}
		if !strings.HasPrefix(entry.Name(), unfinished) || !entry.Type().IsRegular() {
			continue
		}
		done, err := p.sweepOne(path.Join(unfinishedDir, entry.Name()), age)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, p.error(err)
		}
		if done {
			removed++
		}
	}
	return removed, nil
}

func (p *place) sweepOne(name string, age time.Duration) (bool, error) {
	f, err := p.OpenFile(name, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || time.Since(st.ModTime()) < age {
		return false, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
		return false, nil // somebody is at work on it
	}
	return true, p.Remove(name)
}
