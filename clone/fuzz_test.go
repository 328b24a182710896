package clone

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"ordinal/stream"
)

// FuzzDirectory applies whatever frames a donor could think of, to a recipient whose connection breaks and whose process dies in
// between: no panic, and nothing outside the data directory. The frames are a stream without checksums, so that the fuzzer gets past
// them.
func FuzzDirectory(f *testing.F) {
	f.Add(frames(smallCopy()...))
	f.Add(frames(begin(fileCopy), file(fileCopy, 0, "../outside/x.ibd"), whole(fileCopy, 0), end(fileCopy)))
	f.Add(frames(begin(fileCopy), file(fileCopy, 0, "a.ibd", allocated(1), flagged(1)), whole(fileCopy, 0), end(fileCopy),
		file(pageCopy, 0, "b.ibd", renamed), file(pageCopy, 0, "c.ibd", renamed), file(pageCopy, 1, "link/a.ibd"), begin(pageCopy), end(pageCopy)))
	f.Add(frames(begin(fileCopy), file(fileCopy, 0, "x", noTablespace), end(fileCopy), file(pageCopy, 1, "a.ibd", fspFlags(2)), file(pageCopy, 1, "", deleted)))
	var broken []step
	for _, s := range smallCopy() {
		broken = append(broken, s, happen('v'), happen('i'), happen('l'))
	}
	f.Add(frames(broken...))
	f.Fuzz(func(t *testing.T, b []byte) {
		parent := scratch(t)
		dir, outside := filepath.Join(parent, "data"), filepath.Join(parent, "outside")
		for _, d := range []string{dir, outside, filepath.Join(dir, cloneDir)} {
			must(t, os.Mkdir(d, 0o750))
		}
		must(t, os.WriteFile(filepath.Join(dir, inProgress), nil, 0o640))
		must(t, os.Symlink(outside, filepath.Join(dir, "link")))
		root, err := os.OpenRoot(dir)
		must(t, err)
		defer root.Close()
		d := NewDirectory(root, nine)
		for r := bytes.NewReader(b); err == nil && r.Len() > 0; {
			if d, err = applyEvent(root, d, r); err == nil {
				err = applyFrame(d, r)
			}
			if p := d.Progress(); p.Check() != nil {
				t.Errorf("Progress() = %v", p.Check())
			}
		}
		_, _ = d.Finish("fuzz", begunAt)
		if err := d.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		for path, want := range map[string]int{parent: 2, outside: 0} {
			if entries, err := os.ReadDir(path); len(entries) != want || err != nil {
				t.Errorf("%s holds %v, %v", path, entries, err)
			}
		}
		if _, err := os.Lstat(filepath.Join(dir, inProgress)); err != nil {
			t.Errorf("the marker: %v", err)
		}
	})
}

// applyEvent lets something happen to the recipient, if that is what comes next: 'i' a break, 'v' a checkpoint, 'l' another process.
func applyEvent(root *os.Root, d *Directory, r *bytes.Reader) (*Directory, error) {
	kind, err := r.ReadByte()
	if err != nil {
		return d, err
	}
	switch kind {
	case 'i':
		d.Interrupt()
	case 'v':
		return d, d.Save(context.Background(), []byte("note"))
	case 'l':
		_ = d.Close()
		next, _, err := LoadDirectory(root)
		if err != nil {
			return d, err
		}
		return next, nil
	default:
		return d, r.UnreadByte()
	}
	return d, nil
}

// The frames of the fuzzer: a letter, the fields as in memory, a length and so many bytes.
type (
	fuzzFile struct {
		Stage                    stream.Stage
		Index, Space, FSP, Block uint32
		Flags                    uint16
		Size, Alloc              uint64
		Length                   uint8
	}
	fuzzData struct {
		Stage            stream.Stage
		Index            uint32
		Task             uint16
		Chunk, Block     uint32
		Offset, FileSize uint64
		Pages            uint8 // sound ones, the last one not whole if Bytes says so
		Bytes            uint16
	}
)

var le = binary.LittleEndian

func applyFrame(d *Directory, r io.Reader) error {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	stage := stream.Stage(head[1])
	switch head[0] {
	case 's':
		return d.StageStart(stream.StageStart{Stage: stage, Chunks: 64})
	case 'e':
		return d.StageEnd(stage)
	case 'f':
		var f fuzzFile
		if err := binary.Read(r, le, &f); err != nil {
			return err
		}
		name := make([]byte, f.Length)
		if _, err := io.ReadFull(r, name); err != nil {
			return err
		}
		return d.File(stream.File{
			Stage: f.Stage, Index: f.Index, SpaceID: f.Space, Flags: f.Flags, FSPFlags: f.FSP, BlockSize: f.Block, Size: f.Size, Alloc: f.Alloc, Name: string(name),
		})
	case 'd':
		var p fuzzData
		if err := binary.Read(r, le, &p); err != nil {
			return err
		}
		var b []byte
		for i := range uint32(p.Pages % 8) {
			b = append(b, page(spaceOf(p.Index), i, byte(i))...)
		}
		b = append(b, make([]byte, p.Bytes)...)
		h := stream.DataHeader{Stage: p.Stage, Task: p.Task, File: p.Index, Chunk: p.Chunk, Block: p.Block, Offset: p.Offset, FileSize: p.FileSize}
		d.Expect(h)
		return d.Data(h, b)
	}
	return nil
}

// frames encodes steps for applyFrame.
func frames(steps ...step) []byte {
	var w frameWriter
	for _, s := range steps {
		_ = s(&w) // writing to memory
	}
	return w.Bytes()
}

// happen is an event among the frames.
func happen(kind byte) step {
	return func(t target) error {
		if w, ok := t.(*frameWriter); ok {
			return w.WriteByte(kind)
		}
		return nil
	}
}

type frameWriter struct{ bytes.Buffer }

func (w *frameWriter) put(kind byte, stage stream.Stage, v any) error {
	_, _ = w.Write([]byte{kind, byte(stage)})
	if v == nil {
		return nil
	}
	return binary.Write(w, le, v)
}

func (w *frameWriter) StageStart(s stream.StageStart) error { return w.put('s', s.Stage, nil) }
func (w *frameWriter) StageEnd(s stream.Stage) error        { return w.put('e', s, nil) }

func (w *frameWriter) File(f stream.File) error {
	err := w.put('f', 0, fuzzFile{f.Stage, f.Index, f.SpaceID, f.FSPFlags, f.BlockSize, f.Flags, f.Size, f.Alloc, uint8(len(f.Name))})
	_, _ = w.WriteString(f.Name)
	return err
}

func (w *frameWriter) Data(h stream.DataHeader, b []byte) error {
	return w.put('d', 0, fuzzData{h.Stage, h.File, h.Task, h.Chunk, h.Block, h.Offset, h.FileSize, uint8(len(b) / pageSize), uint16(len(b) % pageSize)})
}
