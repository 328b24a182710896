package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	rawWriters = 4
	rawBlock   = 1 << 20
)

// writeRaw writes as many bytes as the donor's data files have, from nowhere, past the page cache where the file system can: the limit
// that the target sets to every copy.
func (s *site) writeRaw(ctx context.Context) (c copied, err error) {
	if err := os.Mkdir(s.raw(), 0o750); err != nil {
		return c, err
	}
	blocks := (s.files.bytes + rawBlock - 1) / rawBlock
	begun := time.Now()
	used, err := ownCPU(func() error {
		g, ctx := errgroup.WithContext(ctx)
		for i := range int64(rawWriters) {
			path := filepath.Join(s.raw(), fmt.Sprint(i))
			g.Go(func() error { return writeBlocks(ctx, path, (blocks+rawWriters-1-i)/rawWriters) })
		}
		return errors.Join(g.Wait(), syncTree(s.raw()))
	})
	c.Copy = time.Since(begun).Seconds()
	c.Whole, c.Received = c.Copy, blocks*rawBlock
	c.CPU = cpu{Recipient: used.Seconds()}
	return c, err
}

// writeBlocks writes a file of blocks that no disk can make smaller.
func writeBlocks(ctx context.Context, path string, blocks int64) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_DIRECT, 0o640)
	if errors.Is(err, unix.EINVAL) { // see open(2); the file may have been made
		file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	block, err := unix.Mmap(-1, 0, rawBlock, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Munmap(block)) }()
	_, _ = rand.NewChaCha8([32]byte{}).Read(block) // never fails
	for range blocks {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, err := file.Write(block); err != nil {
			return err
		}
	}
	return file.Sync()
}
