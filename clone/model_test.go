package clone

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ordinal/clone/protocol"
	"ordinal/internal/innodb"
	"ordinal/stream"
)

// A model is a copy as a donor sends it, in chunks and blocks, together with what it has to come to. It can send all of it, or what a
// recipient says that it lacks.
type model struct {
	stages []modelStage // FILE_COPY, PAGE_COPY, REDO_COPY
	files  []*modelFile // data files, by index
	redo   []*modelFile
}

type modelStage struct {
	stage  stream.Stage
	batch  []stream.File // told before the stage
	files  []stream.File // told at its beginning
	chunks [][]modelBlock
	gone   map[uint32]int // files that vanish in the stage, and how many chunks are begun before that
}

type modelBlock struct {
	h    stream.DataHeader // but for the task
	data []byte
}

type modelFile struct {
	name    string // "" when it is gone
	content []byte
	final   uint64 // size
}

// dice are where a model gets its random numbers from.
type dice interface {
	// IntN returns a number from 0 to n-1.
	IntN(n int) int
}

const (
	chunkPages = 8 // of these models; a server has 4096
	blockPages = 2
)

// newModel makes a copy of a few tables, with DDL between its stages.
func newModel(r dice) *model {
	m := new(model)
	m.fileCopy(r)
	m.pageCopy(r)
	m.redoCopy(r)
	for _, f := range m.files {
		f.finish()
	}
	return m
}

// finish gives the content its final length.
func (f *modelFile) finish() {
	f.content = append(f.content, make([]byte, f.final-uint64(len(f.content)))...)
}

// write puts pages into the content.
func (f *modelFile) write(offset uint64, data []byte) {
	if end := int(offset) + len(data); end > len(f.content) {
		f.content = append(f.content, make([]byte, end-len(f.content))...)
	}
	copy(f.content[offset:], data)
	f.final = max(f.final, uint64(len(f.content)))
}

func (m *model) fileCopy(r dice) {
	s := modelStage{stage: fileCopy, gone: make(map[uint32]int)}
	for i := range uint32(1 + r.IntN(6)) {
		name, pages := fmt.Sprintf("s%d/t%d.ibd", i%2, i), uint32(1+r.IntN(2*chunkPages+3))
		f := &modelFile{name: name}
		meta := stream.File{Stage: fileCopy, Index: i, SpaceID: spaceOf(i), BlockSize: 4096, Size: uint64(pages) * pageSize, Name: "./" + name}
		meta.FirstChunk = uint32(len(s.chunks)) + 1
		for first := uint32(0); first < pages; first += chunkPages {
			var chunk []modelBlock
			for no := first; no < min(first+chunkPages, pages); no += blockPages {
				n := min(no+blockPages, first+chunkPages, pages) - no
				chunk = append(chunk, m.block(&s, f, i, len(chunk), no, n, 'a'))
			}
			s.chunks = append(s.chunks, chunk)
		}
		meta.LastChunk = uint32(len(s.chunks))
		s.files = append(s.files, meta)
		m.files = append(m.files, f)
		if r.IntN(8) == 0 {
			s.gone[i] = r.IntN(len(s.chunks) + 1)
		}
	}
	m.stages = append(m.stages, s)
}

// block is the next block of the chunk that is being made, and puts it into the model's own file.
func (m *model) block(s *modelStage, f *modelFile, index uint32, before int, no, n uint32, fill byte) modelBlock {
	var data []byte
	for p := no; p < no+n; p++ {
		data = append(data, page(spaceOf(index), p, fill+byte(p%8))...)
	}
	h := stream.DataHeader{Stage: s.stage, File: index, Chunk: uint32(len(s.chunks) + 1), Block: uint32(before + 1), Offset: uint64(no) * pageSize}
	f.write(h.Offset, data)
	return modelBlock{h, data}
}

// ddl renames, drops and creates files, and returns what a donor says about it. Those in dropped are gone already.
func (m *model) ddl(r dice, stage stream.Stage, dropped map[uint32]int) []stream.File {
	var batch []stream.File
	var live []uint32
	for i := range uint32(len(m.files)) {
		_, gone := dropped[i]
		switch {
		case m.files[i].name == "":
		case gone || r.IntN(6) == 0:
			m.files[i].name = ""
			batch = append(batch, stream.File{Stage: stage, Index: i, Flags: stream.FlagDeleted, Name: "./gone"})
		default:
			live = append(live, i)
		}
	}
	var names []string
	for _, i := range live {
		names = append(names, m.files[i].name)
	}
	for range r.IntN(3) { // names that are new, or of files that were dropped
		names = append(names, fmt.Sprintf("s%d/n%d_%d.ibd", r.IntN(3), stage, len(names)))
	}
	for i := range names {
		j := r.IntN(i + 1)
		names[i], names[j] = names[j], names[i]
	}
	for _, i := range live {
		if m.files[i].name != names[0] {
			m.files[i].name = names[0]
			batch = append(batch, stream.File{
				Stage: stage, Index: i, SpaceID: spaceOf(i), BlockSize: 4096, Size: uint64(len(m.files[i].content)), Name: "./" + names[0], Flags: stream.FlagRenamed,
			})
		}
		names = names[1:]
	}
	for _, name := range names {
		i := uint32(len(m.files))
		f := &modelFile{name: name}
		f.write(0, innodb.InitialPage0(versionNumber(nine), spaceOf(i), 0))
		f.final = newTablespacePages * pageSize
		m.files = append(m.files, f)
		batch = append(batch, stream.File{Stage: stage, Index: i, SpaceID: spaceOf(i), BlockSize: 4096, Size: f.final, Name: "./" + name})
	}
	slices.SortStableFunc(batch, func(a, b stream.File) int { return int(a.Index) - int(b.Index) })
	return batch
}

func (m *model) pageCopy(r dice) {
	s := modelStage{stage: pageCopy, gone: make(map[uint32]int), batch: m.ddl(r, pageCopy, m.stages[0].gone)}
	var chunk []modelBlock
	for i, f := range m.files {
		if f.name == "" {
			continue
		}
		for range r.IntN(8) {
			chunk = append(chunk, m.block(&s, f, uint32(i), len(chunk), uint32(r.IntN(int(f.final/pageSize)+2)), 1, 'k'))
			if len(chunk) == chunkPages {
				s.chunks, chunk = append(s.chunks, chunk), nil
			}
		}
	}
	if len(chunk) > 0 {
		s.chunks = append(s.chunks, chunk)
	}
	for i, f := range m.files {
		if f.name != "" && r.IntN(10) == 0 {
			s.gone[uint32(i)] = r.IntN(len(s.chunks) + 1)
		}
	}
	m.stages = append(m.stages, s)
}

func (m *model) redoCopy(r dice) {
	s := modelStage{stage: redoCopy, batch: m.ddl(r, redoCopy, m.stages[1].gone)}
	for i := range uint32(1 + r.IntN(2)) {
		f := &modelFile{name: fmt.Sprintf("#innodb_redo/#ib_redo%d", i), final: 128 << 10}
		s.files = append(s.files, stream.File{Stage: redoCopy, Index: i, SpaceID: maxUndoSpace, Size: f.final})
		for range 1 + r.IntN(2) {
			var chunk []modelBlock
			for range 1 + r.IntN(3) {
				data := bytes.Repeat([]byte{byte('0' + len(s.chunks)), byte('A' + len(chunk))}, 2048)
				h := stream.DataHeader{Stage: redoCopy, File: i, Chunk: uint32(len(s.chunks) + 1), Block: uint32(len(chunk) + 1), Offset: uint64(len(f.content))}
				f.write(h.Offset, data)
				chunk = append(chunk, modelBlock{h, data})
			}
			s.chunks = append(s.chunks, chunk)
		}
		f.finish()
		m.redo = append(m.redo, f)
	}
	m.stages = append(m.stages, s)
}

// size is how many bytes of data the whole copy has.
func (m *model) size() (n int) {
	for _, s := range m.stages {
		for _, chunk := range s.chunks {
			for _, b := range chunk {
				n += len(b.data)
			}
		}
	}
	return n
}

// check compares a finished directory with the model.
func (m *model) check(dir string) error {
	want := make(map[string][]byte)
	for _, f := range append(slices.Clone(m.files), m.redo...) {
		if f.name != "" {
			want[f.name] = f.content
		}
	}
	var errs []error
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		if err != nil || e.IsDir() || strings.HasPrefix(name, cloneDir+"/#") {
			return err
		}
		content, err := os.ReadFile(path)
		if wanted, ok := want[name]; !ok || !bytes.Equal(content, wanted) {
			errs = append(errs, fmt.Errorf("%s has %d bytes, want %d; or other ones", name, len(content), len(wanted)))
		}
		delete(want, name)
		return err
	})
	for name := range want {
		errs = append(errs, fmt.Errorf("%s is missing", name))
	}
	for _, name := range []string{fixMarker, replacedMarker, viewStatusFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, err)...)
}

// A modelDonor sends a model to one recipient after another, and remembers what a donor's server has forgotten.
type modelDonor struct {
	*model
	confirmed stream.Stage // the last stage that was confirmed
	sent      int          // bytes of data
	told      map[fileNews]bool
}

// fileNews is that a file has vanished in a stage. A donor tells it once, even if that is lost in a break, and in the next batch.
type fileNews struct {
	stage stream.Stage
	index uint32
}

// errBehind is what a donor says to a recipient that lacks what it has confirmed.
var errBehind = errors.New("the recipient lacks what it has confirmed")

// lacks returns the stages that a recipient with this progress lacks, reduced to what it lacks of them; begun says that the first one
// is the stage it is in.
func (m *modelDonor) lacks(p protocol.Progress) (rest []modelStage, begun bool, err error) {
	if err := p.Check(); err != nil {
		return nil, false, err
	}
	at := stream.Stage(p.State)
	if m.confirmed > at || m.confirmed != 0 && m.confirmed == at && !p.Ended {
		return nil, false, fmt.Errorf("%w: it is in %v, ended %t, and has confirmed %v", errBehind, at, p.Ended, m.confirmed)
	}
	for _, s := range m.stages {
		if s.stage > at || s.stage == at && !p.Ended {
			rest = append(rest, s)
		}
	}
	if p.Ended || at == 0 {
		return rest, false, nil
	}
	s := rest[0]
	s.batch = nil
	if at == redoCopy {
		s.files = s.files[p.RedoFiles:]
	} else if at == fileCopy {
		s.files = s.files[p.Files:]
	}
	var chunks [][]modelBlock
	for i, chunk := range s.chunks {
		no, have := uint32(i+1), 0
		if p.Chunks.Has(no) {
			have = len(chunk)
			for _, part := range p.Partial {
				if part.Chunk == no {
					have = int(part.Blocks)
				}
			}
		}
		if have < len(chunk) {
			chunks = append(chunks, chunk[have:])
		}
	}
	s.chunks = chunks
	rest[0] = s
	return rest, true, nil
}

// A sending is one attempt to send what a recipient lacks. The order of things is random, as far as that is allowed.
type sending struct {
	donor    *modelDonor
	dir      *Directory
	dice     dice
	tasks    int
	between  func() error // called between any two things that happen; its error ends the attempt
	inFlight []modelBlock // announced, not written
}

var errCut = errors.New("cut")

// run sends everything up to the end of REDO_COPY.
func (t *sending) run() error {
	rest, begun, err := t.donor.lacks(t.dir.Progress())
	if err != nil {
		return err
	}
	for i, s := range rest {
		if err := t.stage(s, i == 0 && begun); err != nil {
			return err
		}
	}
	return nil
}

func (t *sending) stage(s modelStage, begun bool) error {
	whole := t.donor.stages[s.stage-fileCopy]
	for _, f := range s.batch {
		if err := cmpErr(t.between(), t.dir.File, f); err != nil {
			return err
		}
	}
	if !begun {
		start := stream.StageStart{Stage: s.stage, Chunks: uint32(len(whole.chunks)), Files: uint32(len(whole.files))}
		if err := cmpErr(t.between(), t.dir.StageStart, start); err != nil {
			return err
		}
	}
	for _, f := range s.files {
		if err := cmpErr(t.between(), t.dir.File, f); err != nil {
			return err
		}
	}
	if err := t.data(s); err != nil {
		return err
	}
	if err := cmpErr(t.between(), t.dir.StageEnd, s.stage); err != nil {
		return err
	}
	t.donor.confirmed = s.stage
	return t.between()
}

func cmpErr[T any](err error, do func(T) error, v T) error {
	if err != nil {
		return err
	}
	return do(v)
}

// data sends the chunks of a stage, each task one at a time; what vanishes in between is sent no more.
func (t *sending) data(s modelStage) error {
	at := make([][]modelBlock, t.tasks)
	gone, begun := make(map[uint32]bool), 0
	for {
		if err := t.between(); err != nil {
			return err
		}
		for _, index := range slices.Sorted(maps.Keys(s.gone)) {
			news := fileNews{s.stage, index}
			if t.donor.told[news] {
				gone[index] = true
			}
			if !gone[index] && begun >= min(s.gone[index], len(s.chunks)) {
				gone[index] = true
				if t.donor.told == nil {
					t.donor.told = make(map[fileNews]bool)
				}
				t.donor.told[news] = true
				if t.dice.IntN(3) == 0 {
					return errCut // nobody hears of it
				}
				if err := t.dir.File(stream.File{Stage: s.stage, Index: index, Flags: stream.FlagDeleted, Name: "./gone"}); err != nil {
					return err
				}
			}
		}
		task, busy := t.dice.IntN(t.tasks), slices.ContainsFunc(at, func(rest []modelBlock) bool { return len(rest) > 0 })
		switch {
		case len(t.inFlight) > 0 && (t.dice.IntN(2) == 0 || begun == len(s.chunks) && !busy):
			if err := t.writeOne(); err != nil {
				return err
			}
		case len(at[task]) > 0:
			b := at[task][0]
			at[task] = at[task][1:]
			if gone[b.h.File] {
				continue
			}
			b.h.Task = uint16(task)
			t.donor.sent += len(b.data)
			t.dir.Expect(b.h)
			t.inFlight = append(t.inFlight, b)
		case begun < len(s.chunks):
			at[task] = s.chunks[begun]
			begun++
		case !busy:
			return nil
		}
	}
}

// writeOne writes any of the blocks that are on their way.
func (t *sending) writeOne() error {
	i := t.dice.IntN(len(t.inFlight))
	b := t.inFlight[i]
	t.inFlight = slices.Delete(t.inFlight, i, i+1)
	return t.dir.Data(b.h, b.data)
}

// A generation is a directory in which a recipient builds a copy, over the lives of several processes.
type generationDir struct {
	t    testing.TB
	path string
}

// renew empties it but for the marker, as a volume does for a new copy.
func (g generationDir) renew() {
	must(g.t, os.RemoveAll(g.path))
	must(g.t, os.MkdirAll(filepath.Join(g.path, cloneDir), 0o750))
	must(g.t, os.WriteFile(filepath.Join(g.path, inProgress), nil, 0o640))
}

func newGenerationDir(t testing.TB) generationDir {
	g := generationDir{t, filepath.Join(scratch(t), "gen")}
	g.renew()
	return g
}

// marked checks that no server would start on it.
func (g generationDir) marked() error {
	_, err := os.Lstat(filepath.Join(g.path, inProgress))
	return err
}
