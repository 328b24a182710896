package clone

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"ordinal/internal/innodb"
	"ordinal/mysqlx"
	"ordinal/stream"
)

// The format is docs/formats/unfinished-copy.md. Paths are not in it but for those that a batch of changes starts from: they follow
// from the names that the donor gave, by the same rules as ever.

const (
	savedMagic   = "ordinal unfinished copy\n"
	savedVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Bits of a saved file.
const (
	savedPages = 1 << iota
	savedSparse
	savedDeleted
	savedKept // it has a path
)

// wholeBlock stands in the place of a number of words for a block of which everything has arrived.
const wholeBlock = uint64(len(coverageBlock{})) + 1

// encode returns the state. The caller holds mu, and turn.
func (d *Directory) encode() []byte {
	e := encoder{b: append(make([]byte, 0, 4096+128*len(d.files)), savedMagic...)}
	e.num(savedVersion)
	e.str(string(d.note))
	for _, n := range []int{d.server.Major, d.server.Minor, d.server.Patch} {
		e.num(uint64(n))
	}
	e.num(uint64(d.stage.Stage))
	e.num(uint64(d.stage.Chunks))
	e.num(uint64(d.stage.Files))
	e.num(d.stage.Bytes)
	e.num(d.stage.DiskBytes)
	e.bool(d.ended)
	e.num(d.bytes)
	e.num(d.pages)
	held, open := d.ledger.resumable()
	e.num(uint64(len(held)))
	for _, word := range held {
		e.b = binary.LittleEndian.AppendUint32(e.b, word)
	}
	parts := partials(open)
	e.num(uint64(len(parts)))
	for _, p := range parts {
		e.num(uint64(p.Chunk))
		e.num(uint64(p.Blocks))
	}
	filling := d.stage.Stage == stream.StageFileCopy // also after its end: what is missing shows when the next stage starts
	for _, list := range [][]*dataFile{d.files, d.redo} {
		e.num(uint64(len(list)))
		for _, f := range list {
			e.file(f, filling && !f.id.redo)
		}
	}
	e.changes(d.pending)
	return binary.LittleEndian.AppendUint32(e.b, crc32.Checksum(e.b, castagnoli))
}

type encoder struct{ b []byte }

func (e *encoder) num(n uint64) { e.b = binary.AppendUvarint(e.b, n) }

func (e *encoder) str(s string) {
	e.num(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) bool(v bool) {
	if v {
		e.num(1)
	} else {
		e.num(0)
	}
}

func (e *encoder) file(f *dataFile, filling bool) {
	var bits uint64
	mark := func(bit uint64, set bool) {
		if set {
			bits |= bit
		}
	}
	mark(savedPages, f.pages)
	mark(savedSparse, f.sparse)
	mark(savedDeleted, f.deleted)
	mark(savedKept, f.path != "")
	e.num(bits)
	e.str(f.name)
	for _, n := range [...]uint32{f.space, uint32(f.fsp), f.punch, f.firstChunk, f.lastChunk} {
		e.num(uint64(n))
	}
	e.num(f.size)
	e.num(f.reaches)
	e.num(uint64(len(f.bad)))
	if len(f.bad) > 0 {
		for _, no := range f.bad.numbers() {
			e.num(no)
		}
	}
	if filling {
		e.coverage(&f.arrived)
	}
}

func (e *encoder) coverage(c *coverage) {
	e.num(c.size)
	whole := c.n >= c.units()
	e.bool(whole)
	if whole {
		return
	}
	e.num(uint64(len(c.blocks)))
	for _, no := range slices.Sorted(maps.Keys(c.blocks)) {
		e.num(no)
		block := c.blocks[no]
		if *block == *fullBlock {
			e.num(wholeBlock)
			continue
		}
		words := block[:(block.reaches()+63)/64]
		e.num(uint64(len(words)))
		for _, word := range words {
			e.b = binary.LittleEndian.AppendUint64(e.b, word)
		}
	}
}

func (e *encoder) changes(c changes) {
	e.num(uint64(c.phase))
	if c.phase == settled {
		return
	}
	e.num(uint64(len(c.removed)))
	for _, name := range c.removed {
		e.str(name)
	}
	e.num(uint64(len(c.moved)))
	for _, m := range c.moved {
		e.num(uint64(m.index))
		e.str(m.from)
	}
}

// errOdd is what a reader says of a state that no encoder has written.
var errOdd = errors.New("damaged")

// decode reads a state. What it returns has no disk yet.
func decode(b []byte) (*Directory, error) {
	if len(b) < len(savedMagic)+4 || string(b[:len(savedMagic)]) != savedMagic {
		return nil, errors.New("not a saved state")
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, fmt.Errorf("%w: wrong checksum", errOdd)
	}
	r := decoder{b: body[len(savedMagic):]}
	if v := r.num(1 << 32); v != savedVersion {
		return nil, fmt.Errorf("format %d, this version knows %d", v, savedVersion)
	}
	d := newDirectory(nil, mysqlx.Version{})
	d.note = []byte(r.str(maxNote))
	for _, n := range []*int{&d.server.Major, &d.server.Minor, &d.server.Patch} {
		*n = int(r.num(1e6))
	}
	d.stage.Stage = stream.Stage(r.num(uint64(stream.StageRedoCopy)))
	d.stage.Chunks = uint32(r.num(maxChunks))
	d.stage.Files = uint32(r.num(1<<32 - 1))
	d.stage.Bytes, d.stage.DiskBytes = r.num(0), r.num(0)
	d.ended = r.bool()
	d.bytes, d.pages = r.num(0), r.num(0)
	r.ledger(d)
	filling := d.stage.Stage == stream.StageFileCopy // also after its end: what is missing shows when the next stage starts
	for i := range r.count(maxFiles) {
		f := r.file(fileID{index: uint32(i)}, filling)
		d.files = append(d.files, f)
		r.place(d, f)
	}
	for i := range r.count(maxRedoFiles) {
		if d.stage.Stage != stream.StageRedoCopy {
			r.refuse("a redo log before its stage")
			break
		}
		f := r.file(fileID{redo: true, index: uint32(i)}, false)
		d.redo = append(d.redo, f)
		r.place(d, f)
	}
	r.changes(d)
	if r.err == nil && len(r.b) > 0 {
		r.refuse("bytes after the end")
	}
	return d, r.err
}

// A decoder reads numbers and strings, and after the first that is odd nothing but zeros. It makes nothing larger than what it reads
// from warrants.
type decoder struct {
	b   []byte
	err error
}

func (r *decoder) refuse(why string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errOdd, why)
	}
	r.b = nil
}

// num reads a number of at most limit; 0: any.
func (r *decoder) num(limit uint64) uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || limit != 0 && n > limit || size > 1 && r.b[size-1] == 0 { // the last: longer than it needs to be
		r.refuse("a number that cannot be")
		return 0
	}
	r.b = r.b[size:]
	return n
}

// count reads the number of things that follow, each of at least a byte.
func (r *decoder) count(limit uint64) int {
	n := r.num(limit)
	if n > uint64(len(r.b)) {
		r.refuse("more things than bytes")
		return 0
	}
	return int(n)
}

func (r *decoder) take(n int) []byte {
	if n > len(r.b) {
		r.refuse("it ends too early")
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *decoder) str(limit uint64) string { return string(r.take(r.count(limit))) }
func (r *decoder) bool() bool              { return r.num(1) == 1 }
func (r *decoder) u32() uint32             { return uint32(r.num(1<<32 - 1)) }

func (r *decoder) ledger(d *Directory) {
	d.ledger = newLedger(d.stage.Chunks)
	for range r.count((maxChunks + 31) / 32) {
		if word := r.take(4); word != nil {
			d.ledger.held = append(d.ledger.held, binary.LittleEndian.Uint32(word))
		}
	}
	for i, word := range d.ledger.held {
		if first := uint32(i)*32 + 1; word != 0 && first+31 > d.stage.Chunks && (first > d.stage.Chunks || word>>(d.stage.Chunks-first+1) != 0) {
			r.refuse("a chunk beyond the last one")
			return
		}
	}
	for range r.count(maxChunks) {
		chunk, blocks := uint32(r.num(maxChunks)), uint32(r.num(maxBlocks))
		if !d.ledger.held.Has(chunk) || blocks == 0 || d.ledger.open[chunk] != nil {
			r.refuse("a part of a chunk that is not held")
			return
		}
		d.ledger.open[chunk] = &parcel{done: blocks}
	}
}

func (r *decoder) file(id fileID, filling bool) *dataFile {
	bits := r.num(savedKept<<1 - 1)
	f := &dataFile{
		id: id, pages: bits&savedPages != 0, sparse: bits&savedSparse != 0, deleted: bits&savedDeleted != 0,
		bad: badPages{}, arrived: coverage{unit: defaultUnit},
	}
	f.name = r.str(1 << 16)
	f.space, f.fsp, f.punch = r.u32(), innodb.Flags(r.u32()), r.u32()
	f.firstChunk, f.lastChunk = r.u32(), r.u32()
	f.size, f.reaches = r.num(1<<62), r.num(1<<62)
	if f.pages {
		if r.err == nil && f.fsp.Check() != nil {
			r.refuse("a page size that no server has")
			return f
		}
		f.arrived.unit = uint64(f.fsp.PhysicalSize())
	}
	for range r.count(maxBadPages) {
		no := r.num(0)
		if _, again := f.bad[no]; again {
			r.refuse("a page that is bad twice")
			return f
		}
		f.bad[no] = struct{}{}
	}
	if filling {
		r.coverage(&f.arrived)
	}
	if bits&savedKept != 0 && !id.redo && r.err == nil {
		at, err := dataPath(stream.File{Name: f.name, FSPFlags: uint32(f.fsp)})
		if err != nil || at == "" || f.pages != (f.fsp != notATablespace) {
			r.refuse("a file without a place")
		}
		f.path = at
	}
	return f
}

// place gives a file its path, which is free.
func (r *decoder) place(d *Directory, f *dataFile) {
	if f.id.redo {
		f.path = d.redoPath(f.id.index)
	}
	if f.path == "" || r.err != nil {
		return
	}
	if _, taken := d.byPath[f.path]; taken && d.stage.Stage == stream.StageFileCopy {
		f.path = waitingPath(f.id.index) // as create did
	} else if taken {
		r.refuse("two files in one place")
	}
	d.byPath[f.path] = f.id
}

func (r *decoder) coverage(c *coverage) {
	c.size = r.num(maxFileSize)
	if r.bool() {
		c.n = c.units()
		return
	}
	for range r.count(0) {
		no, words := r.num(0), r.num(wholeBlock)
		if no > c.units()/blockUnits || c.blocks[no] != nil {
			r.refuse("a part of a file that cannot be")
			return
		}
		if c.blocks == nil {
			c.blocks = make(map[uint64]*coverageBlock)
		}
		block := fullBlock
		if words != wholeBlock {
			block = new(coverageBlock)
			for i := range words {
				if bits := r.take(8); bits != nil {
					block[i] = binary.LittleEndian.Uint64(bits)
				}
			}
		}
		c.blocks[no] = block
		if has, room := block.count(), c.units()-no*blockUnits; has > room || room < blockUnits && block.reaches() > room {
			r.refuse("more of a file than there is")
			return
		}
		c.n += block.count()
	}
}

func (r *decoder) changes(d *Directory) {
	d.pending.phase = ddlPhase(r.num(uint64(settling)))
	if d.pending.phase == settled {
		return
	}
	place := func(limit uint64) string {
		name := r.str(limit)
		if at, err := tablespacePath(name); r.err == nil && name != "" && name != bufferPoolFile && (err != nil || at != name) {
			r.refuse("a change to a file that has no place")
		}
		return name
	}
	for range r.count(maxFiles) {
		d.pending.removed = append(d.pending.removed, place(maxNameBytes))
	}
	moved := make(map[uint32]bool)
	for range r.count(maxFiles) {
		m := move{index: uint32(r.num(maxFiles)), from: place(maxNameBytes)}
		if int(m.index) >= len(d.files) || moved[m.index] || d.files[m.index].path == "" || !d.files[m.index].pages {
			r.refuse("a change to a file that there is not")
			return
		}
		moved[m.index] = true
		f := d.files[m.index]
		f.path = m.from
		if m.from == "" || d.pending.phase == settling {
			f.path = waitingPath(m.index)
		}
		d.pending.moved = append(d.pending.moved, m)
	}
}
