package livefiles

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ordinal/clone/protocol"
)

const (
	// maxChunks bounds the numbers of chunks, which come from the network: 512 TiB with the usual pages.
	maxChunks = 1 << 23
	// maxOpen bounds the descriptors of a set, whatever the process may have.
	maxOpen = 60_000
	// opening is the number of files that are opened and checked at a time: mostly a wait for the disk.
	opening = 16
	// openBatch is the number of files of one directory that are opened in a row.
	openBatch = 256
)

// Open makes sure of the directory as Check does, opens every file that may be read beside the server, and keeps it open.
// files are all files that the server announced in FILE_COPY, in order; they must have been announced before Open is
// called, and the stage not be acknowledged.
//
// Files about which anything is odd are left to the server, see Set.Left: what is no tablespace, encrypted, outside the data
// directory, behind a symbolic link or on another file system, is not found, is shorter than announced, holds another
// tablespace, or is cut into chunks in another way than this package does. So are, smallest first, those for which there
// is no file descriptor: a set takes at most half of what the process may open, and 60 000.
//
// Errors: those of Check, a page size that is none, files that overlap, and the cause of ctx's end. The caller closes the set.
func Open(ctx context.Context, dir string, s Server, files []protocol.FileMeta) (*Set, error) {
	l, err := newLayout(s.PageSize)
	if err != nil {
		return nil, fmt.Errorf("open live data files: %w", err)
	}
	root, err := openLive(dir, s)
	if err != nil {
		return nil, fmt.Errorf("open live data files: %w", err)
	}
	defer root.Close()
	o := opener{layout: l, server: s, root: root, most: maxDescriptors()}
	set, err := o.open(ctx, files)
	if err != nil {
		return nil, fmt.Errorf("open live data files: %w", err)
	}
	return set, nil
}

// An opener is the work of Open.
type opener struct {
	layout
	server Server
	root   *os.Root
	most   int    // files to keep open
	device uint64 // of root
}

// A candidate is a file on its way into the set.
type candidate struct {
	protocol.FileMeta
	dir, base string // its place, as announced and mapped
	open      *file
	why       error // it is left to the server
}

func (o *opener) open(ctx context.Context, files []protocol.FileMeta) (*Set, error) {
	st, err := o.root.Stat(".")
	if err != nil {
		return nil, err
	}
	o.device = device(st)
	all := make([]*candidate, len(files))
	var last uint32 // chunk
	for i, m := range files {
		all[i] = o.judge(m)
		if m.Deleted() {
			continue // its chunks mean something else
		}
		// Anything else would make one chunk stand for two files.
		if m.FirstChunk <= last || m.LastChunk < m.FirstChunk || m.LastChunk > maxChunks {
			return nil, fmt.Errorf("file %q: chunks %d to %d follow chunk %d", m.Name, m.FirstChunk, m.LastChunk, last)
		}
		last = m.LastChunk
	}
	err = o.openAll(ctx, o.choose(all))
	set := &Set{layout: o.layout}
	for _, c := range all {
		if c.open == nil {
			set.left = append(set.left, Left{c.Name, c.why})
			continue
		}
		set.files = append(set.files, c.open)
		set.bytes += c.Size
		for chunk := c.FirstChunk; chunk <= c.LastChunk; chunk++ {
			set.chunks.Add(chunk)
		}
	}
	if err != nil {
		return nil, errors.Join(err, set.Close())
	}
	return set, nil
}

const (
	fspEncrypted = 1 << 13 // in the flags of a tablespace
	offSpace     = 34      // of the tablespace's id in a page
	offFSPFlags  = 54      // of the flags in page 0
)

// judge decides by what was announced alone.
func (o *opener) judge(m protocol.FileMeta) *candidate {
	c := &candidate{FileMeta: m}
	leave := func(format string, args ...any) *candidate {
		c.why = fmt.Errorf(format, args...)
		return c
	}
	switch {
	case m.State != protocol.StateFileCopy:
		return leave("is a file of %v", m.State)
	case m.SpaceID == protocol.SpaceNone || m.SpaceID == protocol.SpaceRedo || m.FSPFlags == protocol.NoFSPFlags:
		return leave("is no tablespace")
	case m.FSPFlags&fspEncrypted != 0 || m.Flags&(protocol.FileEncrypted|protocol.FileKeyAppended) != 0:
		return leave("is encrypted")
	case m.Deleted() || m.Renamed():
		return leave("has changed its name, or is gone")
	case m.Size == 0:
		return leave("is empty")
	case uint64(m.LastChunk-m.FirstChunk)+1 != o.chunks(m.Size):
		return leave("has %d chunks, its %d bytes are %d", m.LastChunk-m.FirstChunk+1, m.Size, o.chunks(m.Size))
	}
	place, err := o.server.locate(m)
	if err != nil {
		return leave("%w", err)
	}
	c.dir, c.base = path.Split(place)
	c.dir = path.Clean(c.dir)
	return c
}

// choose returns the candidates there are descriptors for, sorted by directory.
func (o *opener) choose(all []*candidate) []*candidate {
	chosen := slices.DeleteFunc(slices.Clone(all), func(c *candidate) bool { return c.why != nil })
	if len(chosen) > o.most {
		slices.SortStableFunc(chosen, func(a, b *candidate) int { return cmp.Compare(b.Size, a.Size) })
		for _, c := range chosen[o.most:] {
			c.why = fmt.Errorf("is beyond the %d files that this process may keep open", o.most)
		}
		chosen = chosen[:o.most]
	}
	slices.SortStableFunc(chosen, func(a, b *candidate) int { return cmp.Compare(a.dir, b.dir) })
	return chosen
}

// maxDescriptors is how many files a set may keep open.
func maxDescriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(limit.Cur/2, maxOpen))
}

// openAll opens the candidates, several at a time. It returns an error only when ctx ends.
func (o *opener) openAll(ctx context.Context, all []*candidate) error {
	g, sub := errgroup.WithContext(ctx)
	g.SetLimit(opening)
	for len(all) > 0 && sub.Err() == nil {
		n := 1
		for n < min(len(all), openBatch) && all[n].dir == all[0].dir {
			n++
		}
		batch := all[:n]
		all = all[n:]
		g.Go(func() error { return o.openBatch(sub, batch) })
	}
	_ = g.Wait() // no other error than the end of ctx
	return context.Cause(ctx)
}

// openBatch opens files of one directory.
func (o *opener) openBatch(ctx context.Context, batch []*candidate) error {
	dir, err := openDir(o.root, batch[0].dir)
	if err == nil {
		defer dir.Close()
	}
	head := alignedBuffer(directAlign)
	for _, c := range batch {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			c.why = err
			continue
		}
		c.open, c.why = o.openFile(dir, c, head)
	}
	return nil
}

// openFile opens one file and checks that it is the one that was announced. head is room for the first bytes of it.
func (o *opener) openFile(dir *os.Root, c *candidate, head []byte) (*file, error) {
	f := &file{index: c.Index, first: c.FirstChunk, size: c.Size, name: c.Name, past: o.server.writesDirect()}
	var err error
	if f.past {
		f.File, err = openPlain(dir, c.base, unix.O_DIRECT)
		f.direct.Store(err == nil)
	}
	if !f.past || errors.Is(err, unix.EINVAL) { // the file system has no direct reads
		f.File, err = openPlain(dir, c.base, 0)
	}
	if err != nil {
		return nil, err
	}
	if err := o.check(f, c, head); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// check looks at the open file.
func (o *opener) check(f *file, c *candidate, head []byte) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	switch {
	case device(st) != o.device:
		return errors.New("is on another file system than its directory")
	case uint64(st.Size()) < c.Size:
		return fmt.Errorf("has %d bytes, less than the %d announced", st.Size(), c.Size)
	}
	f.forgetStale(0, directAlign)
	f.expectRandom()
	defer f.expectSequential()
	switch n, err := f.readAt(head, 0, offFSPFlags+4); {
	case err != nil:
		return fmt.Errorf("read page 0: %w", err)
	case n < offFSPFlags+4:
		return ErrShrunk
	}
	if space := binary.BigEndian.Uint32(head[offSpace:]); space != c.SpaceID {
		return fmt.Errorf("holds tablespace %d, announced was %d", space, c.SpaceID)
	}
	// The first page of a second file of the system tablespace has no flags.
	if c.SpaceID != protocol.SpaceSystem && binary.BigEndian.Uint32(head[offFSPFlags:])&fspEncrypted != 0 {
		return errors.New("is encrypted by now")
	}
	return nil
}

func device(st os.FileInfo) uint64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return uint64(sys.Dev)
	}
	return 0
}
