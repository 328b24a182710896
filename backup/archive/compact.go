package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"ordinal/backup"
	"ordinal/backup/store"
)

// Defaults of CompactOptions.
const (
	DefaultCompactObjects = 120      // ten minutes of segments of five seconds
	DefaultCompactBytes   = 64 << 20 // of an object that is put together
	DefaultCompactAge     = time.Hour
	DefaultCompactGrace   = time.Hour
)

// CompactOptions say when small objects are put together. The zero value is a sensible one.
type CompactOptions struct {
	// Objects is how many objects in a row are put together at least, unless the first one is older than Age.
	Objects int
	// Bytes is how large an object gets at most.
	Bytes int64
	// Age is after how long a few objects are put together too, Objects/10 at least.
	Age time.Duration
	// Grace is how long objects stay after they were put together: who has begun to restore still reads them. Negative: not at all.
	Grace time.Duration
}

func (o *CompactOptions) complete() {
	o.Objects = min(cmp.Or(o.Objects, DefaultCompactObjects), maxMembers)
	o.Bytes = cmp.Or(o.Bytes, DefaultCompactBytes)
	o.Age = cmp.Or(o.Age, DefaultCompactAge)
	o.Grace = cmp.Or(o.Grace, DefaultCompactGrace)
}

// Compacted says what [Compact] did.
type Compacted struct {
	Written int // objects
	From    int // objects that these were put together from
	Removed int // objects whose content is in others
}

// Compact puts many small objects in a row into one, and removes those whose content is in another one for long enough. Contents are copied as they
// are: no key is needed but that for seals. It may be interrupted at any call of the store, and any number may run at a time: an object is removed
// only when another one that has all of its content was read back. Memory: one segment.
func Compact(ctx context.Context, s store.Store, keys backup.Keys, o CompactOptions) (done Compacted, err error) {
	o.complete()
	x, err := Load(ctx, s, keys)
	if err != nil {
		return done, err
	}
	c := &compactor{s: s, keys: keys, o: o, x: x, now: time.Now().UTC(), writer: newWriter()}
	if err := c.remove(ctx); err != nil {
		return c.done, fmt.Errorf("compact the archive: %w", err)
	}
	for _, run := range c.runs() {
		if err := c.merge(ctx, run); err != nil {
			return c.done, fmt.Errorf("compact the archive: %w", err)
		}
	}
	if c.done.Written > 0 && o.Grace < 0 {
		if c.x, err = Load(ctx, s, keys); err == nil {
			err = c.remove(ctx)
		}
	}
	return c.done, err
}

type compactor struct {
	s      store.Store
	keys   backup.Keys
	o      CompactOptions
	x      *Index
	now    time.Time
	writer string
	number int
	done   Compacted
}

// small says whether an object is still to be put together with others. Parts of long transactions are large, and stay.
func (c *compactor) small(o object) bool {
	for _, m := range o.header.Members {
		if m.Series != "" {
			return false
		}
	}
	return len(o.header.Members) < c.o.Objects/2 && o.size < c.o.Bytes/2
}

// runs returns what is to be put together: objects in the order of their names, which is that of time.
func (c *compactor) runs() (all [][]object) {
	covered := c.covered(-1)
	var run []object
	var size int64
	members := 0
	end := func() {
		old := len(run) > 0 && c.now.Sub(run[0].written) > c.o.Age && len(run) >= max(c.o.Objects/10, 2)
		if len(run) > 1 && (len(run) >= c.o.Objects || size > c.o.Bytes/2 || old) {
			all = append(all, run)
		}
		run, size, members = nil, 0, 0
	}
	for _, o := range c.x.objects {
		if _, done := covered[o.name]; done || !c.small(o) {
			continue
		}
		if size+o.size > c.o.Bytes || members+len(o.header.Members) > maxMembers || len(run) >= c.o.Objects {
			end()
		}
		run, size, members = append(run, o), size+o.size, members+len(o.header.Members)
	}
	end()
	return all
}

// merge writes one object with the content of several.
func (c *compactor) merge(ctx context.Context, run []object) error {
	h := header{Cluster: run[0].header.Cluster, Set: run[0].header.Set, Written: c.now}
	var from []source
	for _, o := range run {
		offset := o.body
		for _, m := range o.header.Members {
			from = append(from, source{part{digest: m.Digest, size: m.Size, raw: m.Raw}, place{object: o.name, offset: offset}})
			offset += m.Size
			if m.Encryption > 0 {
				m.Encryption = h.encryption(o.header.Encryption[m.Encryption-1])
			}
			h.Members = append(h.Members, m)
		}
	}
	head, err := encodeObject(h, c.keys)
	if err != nil {
		return err
	}
	size := int64(len(head))
	for _, f := range from {
		size += f.part.size
	}
	c.number++
	name := segmentName(run[0].written, c.writer, c.number)
	body := &gathered{ctx: ctx, s: c.s, head: head, from: from}
	if err := c.s.Put(ctx, name, size, body); err != nil {
		return err
	}
	c.done.Written++
	c.done.From += len(run)
	return nil
}

// encryption returns the number of an encryption in the list, from 1.
func (h *header) encryption(e backup.Encryption) int {
	for i, known := range h.Encryption {
		if known.Key == e.Key && known.Passphrase == e.Passphrase && fmt.Sprint(known.Recipients) == fmt.Sprint(e.Recipients) {
			return i + 1
		}
	}
	h.Encryption = append(h.Encryption, e)
	return len(h.Encryption)
}

// covered returns, for each object all of whose members are in another one that is older than grace, the number of that one. Of two with the same
// members the one with the smaller name stays, so that two who do this at the same time never remove both.
func (c *compactor) covered(grace time.Duration) map[string]int {
	where := map[string][]int{} // objects by their members, in order of their names
	for i, o := range c.x.objects {
		for _, m := range o.header.Members {
			where[m.id()] = append(where[m.id()], i)
		}
	}
	out := map[string]int{}
	for i, o := range c.x.objects {
		for _, j := range where[o.header.Members[0].id()] {
			if c.covers(j, i) && c.now.Sub(c.x.objects[j].written) >= grace {
				out[o.name] = j
				break
			}
		}
	}
	return out
}

// id tells members apart. The parts of a long transaction belong to each other: two archivers can have cut one that is the same to the byte, and
// another that is not.
func (m *member) id() string { return fmt.Sprintf("%s %s %d", m.Digest, m.Series, m.Part) }

// covers says whether object j has all that object i has, and is the one to stay.
func (c *compactor) covers(j, i int) bool {
	mine, other := c.x.objects[i].header.Members, c.x.objects[j].header.Members
	if j == i || len(other) < len(mine) || len(other) == len(mine) && j > i {
		return false
	}
	has := map[string]bool{}
	for _, m := range other {
		has[m.id()] = true
	}
	for _, m := range mine {
		if !has[m.id()] {
			return false
		}
	}
	return true
}

// remove removes what is in objects that were put together some time ago, after it has read those.
func (c *compactor) remove(ctx context.Context) error {
	covered := c.covered(c.o.Grace)
	read := map[int]error{}
	var problems []error
	for _, o := range c.x.objects {
		by, ok := covered[o.name]
		if !ok {
			continue
		}
		err, known := read[by]
		if !known {
			err = c.readBack(ctx, c.x.objects[by])
			read[by] = err
			if err != nil {
				problems = append(problems, err)
			}
		}
		if err != nil {
			continue
		}
		if err := c.s.Delete(ctx, o.name); err != nil {
			return errors.Join(append(problems, err)...)
		}
		c.done.Removed++
	}
	return errors.Join(problems...)
}

// readBack reads a whole object and compares all digests.
func (c *compactor) readBack(ctx context.Context, o object) error {
	offset := o.body
	for _, m := range o.header.Members {
		if _, err := readPart(ctx, c.s, part{digest: m.Digest, size: m.Size}, place{object: o.name, offset: offset}); err != nil {
			return err
		}
		offset += m.Size
	}
	return nil
}

// A source is where one member of a new object comes from.
type source struct {
	part
	place
}

// gathered is the content of an object that is put together: its head and the members, each read whole and checked before a byte of it is handed on.
// It can be read again from the start.
type gathered struct {
	ctx  context.Context // of the Put that reads it
	s    store.Reader
	head []byte
	from []source

	buf  []byte // not read yet
	next int    // of from; 0 with started unset: the head comes first
	on   bool
}

func (g *gathered) Read(p []byte) (int, error) {
	if !g.on {
		g.on, g.buf, g.next = true, g.head, 0
	}
	for len(g.buf) == 0 {
		if g.next == len(g.from) {
			return 0, io.EOF
		}
		f := g.from[g.next]
		b, err := readPart(g.ctx, g.s, f.part, f.place)
		if err != nil {
			return 0, err
		}
		g.buf, g.next = b, g.next+1
	}
	n := copy(p, g.buf)
	g.buf = g.buf[n:]
	return n, nil
}

// Seek goes back to the start, which is all that a further attempt needs.
func (g *gathered) Seek(offset int64, whence int) (int64, error) {
	switch {
	case whence == io.SeekCurrent && offset == 0 && !g.on:
		return 0, nil
	case whence == io.SeekStart && offset == 0:
		g.on, g.buf = false, nil
		return 0, nil
	}
	return 0, errors.New("only the start can be sought")
}
