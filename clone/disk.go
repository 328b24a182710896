package clone

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"ordinal/internal/atomicfile"
)

// A disk is all that a Directory asks of the file system. Names are relative to the data directory and never lead out of it.
// Tests put one in its place on which any call fails. Methods may be called concurrently.
type disk interface {
	// create makes a file that must not be there yet, not even as a link.
	create(name string) (diskFile, error)
	// open opens a file for reading and writing, past the page cache if direct.
	open(name string, direct bool) (diskFile, error)
	mkdir(name string) error
	rename(from, to string) error
	remove(name string) error
	// removeAll removes a file, a link or a whole directory, and follows no link.
	removeAll(name string) error
	lstat(name string) (fs.FileInfo, error)
	readDir(name string) ([]fs.DirEntry, error)
	// read returns the content of a file of at most limit bytes.
	read(name string, limit int64) ([]byte, error)
	// replace gives a file this content, durably: after a crash it has either the old one or this.
	replace(name string, content []byte) error
	// syncDir makes the names in a directory durable.
	syncDir(name string) error
}

// A diskFile is a file that data is written to.
type diskFile interface {
	io.WriterAt
	io.Closer
	size() (int64, error)
	truncate(size int64) error
	// sync makes the content durable, and the size.
	sync() error
	// allocate gives an empty file its size and room for it on the disk, where that makes writing cheaper; else it does nothing.
	allocate(size uint64) error
	// free gives n bytes at offset back to the file system; they read as zeros then.
	free(offset, n uint64) error
	// writeBack lets n bytes at offset go to the disk soon. It is a hint.
	writeBack(offset, n uint64)
}

// rootDisk is the disk below a directory.
type rootDisk struct{ root *os.Root }

var _ disk = rootDisk{}

func (r rootDisk) create(name string) (diskFile, error) {
	return asDiskFile(r.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640))
}

func (r rootDisk) open(name string, direct bool) (diskFile, error) {
	flags := os.O_RDWR
	if direct {
		flags |= unix.O_DIRECT
	}
	return asDiskFile(r.root.OpenFile(name, flags, 0))
}

func (r rootDisk) mkdir(name string) error                { return r.root.Mkdir(name, 0o750) }
func (r rootDisk) rename(from, to string) error           { return r.root.Rename(from, to) }
func (r rootDisk) remove(name string) error               { return r.root.Remove(name) }
func (r rootDisk) removeAll(name string) error            { return r.root.RemoveAll(name) }
func (r rootDisk) lstat(name string) (fs.FileInfo, error) { return r.root.Lstat(name) }
func (r rootDisk) syncDir(name string) error              { return atomicfile.SyncRootDir(r.root, name) }

func (r rootDisk) readDir(name string) ([]fs.DirEntry, error) {
	dir, err := r.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.ReadDir(-1)
}

func (r rootDisk) read(name string, limit int64) ([]byte, error) {
	f, err := r.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return content, err
}

func (r rootDisk) replace(name string, content []byte) error {
	return atomicfile.WriteRoot(r.root, name, content, 0o600)
}

// rootFile is a file below a directory.
type rootFile struct{ *os.File }

func asDiskFile(f *os.File, err error) (diskFile, error) {
	if err != nil {
		return nil, err
	}
	return rootFile{f}, nil
}

func (f rootFile) truncate(size int64) error { return f.Truncate(size) }

func (f rootFile) size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f rootFile) sync() error {
	for {
		// The times of a file of the copy mean nothing: only its content and size have to be there.
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

func (f rootFile) allocate(size uint64) error {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &stat); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if stat.Type != unix.EXT4_SUPER_MAGIC {
		return nil // on a memory file system it would mean to write everything twice; others were not measured
	}
	for {
		switch err := unix.Fallocate(int(f.Fd()), 0, 0, int64(size)); err {
		case unix.EINTR:
		case unix.EOPNOTSUPP, unix.ENOSYS:
			return nil // ext2 and ext3 have the same number
		default:
			return os.NewSyscallError("fallocate", err)
		}
	}
}

func (f rootFile) free(offset, n uint64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(offset), int64(n))
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return os.NewSyscallError("fallocate", err)
	}
	_, err = f.WriteAt(make([]byte, n), int64(offset)) // this file system has no holes
	return err
}

func (f rootFile) writeBack(offset, n uint64) {
	// Memory file systems refuse it, and the sync at the end is what counts.
	_ = unix.SyncFileRange(int(f.Fd()), int64(offset), int64(n), unix.SYNC_FILE_RANGE_WRITE)
}
