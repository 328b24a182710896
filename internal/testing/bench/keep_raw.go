package main

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Names of what is done by cp.
const (
	nameRaw     = "cp, fsync"
	nameRawBack = "cp back, fsync"
)

// A rawKeeper copies the donor's data files into a directory, and that into another one: what the disk and the page cache can do. Of a
// server that writes it would be worth nothing; here it is idle, and yet no server is started on it, for its logs are not among the files.
type rawKeeper struct {
	*site
	place string
}

func (k rawKeeper) backup(ctx context.Context) (trial, error) {
	args := append([]string{"--parents", "--"}, k.files.names...)
	t, err := k.copy(ctx, k.files.dir, k.place, args...)
	t.Stored = k.files.bytes
	return t, err
}

func (k rawKeeper) restore(ctx context.Context) (trial, error) {
	return k.copy(ctx, k.place, k.restored(), "--recursive", "--", ".")
}

func (k rawKeeper) copy(ctx context.Context, from, to string, args ...string) (t trial, err error) {
	if err := os.MkdirAll(to, 0o750); err != nil {
		return t, err
	}
	program := exec.Command("cp", append([]string{"--reflink=never", "--target-directory=" + to}, args...)...)
	program.Dir = from
	begun := time.Now()
	if err := pipe(ctx, program); err != nil {
		return t, err
	}
	syncing, err := ownCPU(func() error { return syncTree(to) })
	t.Seconds = time.Since(begun).Seconds()
	t.CPU.Programs = (cpuOf(program) + syncing).Seconds()
	return t, err
}

// listAll lists all files below a directory.
func listAll(dir string) (files, error) {
	list := files{dir: dir}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		list.names, list.bytes = append(list.names, name), list.bytes+info.Size()
		return err
	})
	return list, err
}
