package clone

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"sync"

	"ordinal/clone/protocol"
	"ordinal/mysqlx"
	"ordinal/stream"
)

// Bounds on what a stream may make a recipient keep in memory.
const (
	maxFiles     = 4 << 20
	maxRedoFiles = 1024     // a server keeps 32, older ones at most 100
	maxFileSize  = 64 << 40 // bytes; InnoDB's own limit for 16 KiB pages
)

// A Directory builds a data directory from the parts of a clone, in the order in which a donor's server sends them.
//
// The parts may come in several attempts: after a break call Interrupt, tell the donor what Progress says, and go on. They may
// even come to several processes: what Save and StageEnd leave on the volume, LoadDirectory takes up again.
//
// Data and Expect may be called concurrently, and File beside them if it announces the deletion of a file. Save may be called at
// any time. No other method may run beside another. After an error from the disk the directory is good for Close only: every later
// call returns that error, and what was saved before is still good to be loaded.
type Directory struct {
	disk   disk
	server mysqlx.Version
	open   *openFiles

	// turn is held by what concerns the copy as a whole: a new stage, a checkpoint, the end. It is taken before mu.
	turn     sync.Mutex
	note     []byte  // the caller's, saved with the state
	pending  changes // by DDL, being made
	finished bool

	// mu guards the books, all that follows. It is never held while data is written or synced.
	mu       sync.Mutex
	stage    stream.StageStart // the present one; Stage is 0 before the first
	ended    bool              // its end has been seen
	files    []*dataFile
	redo     []*dataFile
	byPath   map[string]fileID // where something is, or is about to be
	made     map[string]bool   // directories
	batch    batch             // changes by DDL that wait for the next stage
	ledger   ledger
	bytes    uint64
	pages    uint64
	room     uint64          // bytes on disk that the files of FILE_COPY may still be given in advance
	unsynced []*dataFile     // files written to since they were synced last
	renamed  map[string]bool // directories in which names have changed since they were synced last
	broken   error           // the first error from the disk
}

// Summary is what a finished copy consists of.
type Summary struct {
	Files int    `json:"files"`
	Bytes uint64 `json:"bytes"` // received, including what PAGE_COPY sent again
	Pages uint64 `json:"pages"` // checked
}

// NewDirectory starts to build in root, which holds nothing but the marker that keeps servers away. server is the version
// of the donor's mysqld: it decides about names and formats. The caller keeps root open until after Close.
func NewDirectory(root *os.Root, server mysqlx.Version) *Directory {
	return newDirectory(rootDisk{root}, server)
}

func newDirectory(on disk, server mysqlx.Version) *Directory {
	return &Directory{
		disk:    on,
		server:  server,
		open:    newOpenFiles(on),
		byPath:  make(map[string]fileID),
		made:    make(map[string]bool),
		renamed: make(map[string]bool),
		ledger:  newLedger(0),
	}
}

// Close releases the descriptors; what was built stays as it is.
func (d *Directory) Close() error { return d.open.closeAll() }

// fail notes an error from the disk, after which nothing is certain any more, and returns it.
func (d *Directory) fail(err error) error {
	if err == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = cmp.Or(d.broken, err)
	return err
}

// StageStart enters the next stage. Changes by DDL that were announced before it are made now: as one step, which is done or undone
// however the process ends, and which LoadDirectory finishes.
func (d *Directory) StageStart(s stream.StageStart) error {
	d.turn.Lock()
	defer d.turn.Unlock()
	if err := d.enter(s); err != nil {
		return err
	}
	if err := d.makeChanges(); err != nil {
		return d.fail(err)
	}
	return d.fail(d.checkNames())
}

// checkNames refuses a copy in which a file still waits for its name.
func (d *Directory) checkNames() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.files {
		if !f.deleted && f.path == waitingPath(f.id.index) {
			return fmt.Errorf("two files of the clone are named %q", f.name)
		}
	}
	return nil
}

// enter opens the books of the next stage.
func (d *Directory) enter(s stream.StageStart) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil {
		return d.broken
	}
	if now := d.stage.Stage; s.Stage != now+1 && !(now == 0 && s.Stage == stream.StageFileCopy) || now != 0 && !d.ended {
		return fmt.Errorf("%v follows %v: out of order", s.Stage, now)
	}
	if s.Chunks > maxChunks {
		return fmt.Errorf("%d chunks in %v: more than any server's", s.Chunks, s.Stage)
	}
	err := d.applyBatch()
	if err == nil && d.stage.Stage == stream.StageFileCopy {
		err = d.checkArrived()
	}
	if err != nil {
		d.broken = err // the books are in no order any more
		return err
	}
	d.stage, d.ended, d.ledger = s, false, newLedger(s.Chunks)
	if d.room = 0; s.Stage == stream.StageFileCopy {
		d.room = s.DiskBytes
	}
	return nil
}

// File takes a file's description: a new file, a change by DDL, or the news that it is gone. Changes by DDL come between two
// stages; they are only collected, and made by StageStart.
func (d *Directory) File(meta stream.File) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	stage := d.stage.Stage
	switch copying := stage == stream.StageFileCopy || stage == stream.StagePageCopy; {
	case d.broken != nil:
		return d.broken
	case d.ended && copying && meta.Stage == stage+1:
		return d.collect(meta)
	case d.ended || meta.Stage != stage:
		return fmt.Errorf("file %q of %v in %v: out of order", meta.Name, meta.Stage, stage)
	case meta.Flags&stream.FlagDeleted != 0:
		return d.gone(meta)
	case stage == stream.StageFileCopy:
		return d.create(meta)
	case stage == stream.StageRedoCopy:
		return d.redoFile(meta)
	}
	return fmt.Errorf("file %q is described in the middle of %v", meta.Name, stage)
}

// gone notes that the donor's file vanished while it was being sent. Our copy stays until the next change says so too.
func (d *Directory) gone(meta stream.File) error {
	f, err := d.file(fileID{index: meta.Index})
	if err != nil {
		return err
	}
	f.deleted = true
	if d.stage.Stage == stream.StageFileCopy && f.firstChunk != 0 {
		d.ledger.gone(f.firstChunk, f.lastChunk)
	}
	return nil
}

// create makes the file that FILE_COPY is going to fill.
func (d *Directory) create(meta stream.File) error {
	if int(meta.Index) != len(d.files) {
		return fmt.Errorf("file %q has index %d, want %d", meta.Name, meta.Index, len(d.files))
	}
	f, err := d.newFile(meta)
	if err != nil {
		return err
	}
	f.arrived.size = meta.Size
	f.firstChunk, f.lastChunk = meta.FirstChunk, meta.LastChunk
	if f.path != "" {
		if _, taken := d.byPath[f.path]; taken {
			// Tables were renamed while the donor named its files. The batch after this stage says who has the name in the end.
			f.path = waitingPath(meta.Index)
		}
		if err := d.makeFile(f); err != nil {
			return err
		}
	}
	d.files = append(d.files, f)
	return nil
}

// newFile describes a data file without touching the disk.
func (d *Directory) newFile(meta stream.File) (*dataFile, error) {
	if meta.Index >= maxFiles || meta.Size > maxFileSize {
		return nil, fmt.Errorf("file %q: index %d or size %d is beyond any server's", meta.Name, meta.Index, meta.Size)
	}
	at, err := dataPath(meta)
	if err != nil {
		return nil, err
	}
	return newDataFile(fileID{index: meta.Index}, meta, at)
}

// dataPath is where a data file belongs, below the data directory; "" when its content is not kept.
func dataPath(meta stream.File) (string, error) {
	if meta.FSPFlags != notATablespace {
		return tablespacePath(meta.Name)
	}
	if meta.Name != bufferPoolFile && meta.Name != "./"+bufferPoolFile {
		return "", nil // a list of pages to warm up with under another name: not worth a risk
	}
	return bufferPoolFile, nil
}

// bufferPoolFile is the one file of a clone that is no tablespace. See refman/8.4 innodb-preload-buffer-pool.
const bufferPoolFile = "ib_buffer_pool"

// makeFile creates f's empty file and the directory it is in.
func (d *Directory) makeFile(f *dataFile) error {
	if other, taken := d.byPath[f.path]; taken && other != f.id {
		return fmt.Errorf("two files of the clone are named %q", f.path)
	}
	file, err := d.createAt(f.path)
	if err == nil {
		err = errors.Join(d.allocate(f, file), file.Close())
	}
	if err != nil {
		d.broken = err
		return err
	}
	d.byPath[f.path] = f.id
	return nil
}

// allocate gives a large new file its room on the disk: to write past the page cache into it costs less than to make it grow, above all
// on a busy disk. Together such files get no more than the donor said the stage takes, for which the recipient has checked that there is
// room: what a file is said to have is only a number.
func (d *Directory) allocate(f *dataFile, file diskFile) error {
	if !f.pages || f.holes() || f.size < allocateBytes || f.size > d.room {
		return nil
	}
	d.room -= f.size
	if err := file.allocate(f.size); err != nil {
		return fmt.Errorf("make room for %s: %w", f.path, err)
	}
	d.touch(f)
	return nil
}

// allocateBytes is the size from which on a file is given its room in advance. Smaller ones are written through the page cache.
const allocateBytes = 1 << 20

// createAt makes an empty file and the directory it is in. The caller closes it.
func (d *Directory) createAt(name string) (diskFile, error) {
	if err := d.makeParent(name); err != nil {
		return nil, err
	}
	file, err := d.disk.create(name)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	d.renamed[path.Dir(name)] = true
	return file, nil
}

// makeParent makes the directory of the schema that name lies in, if it is not there yet.
func (d *Directory) makeParent(name string) error {
	dir := path.Dir(name)
	if dir == "." || d.made[dir] {
		return nil
	}
	if err := d.disk.mkdir(dir); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make directory %s: %w", dir, err)
	}
	if info, err := d.disk.lstat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("make directory %s: something else is there: %w", dir, cmp.Or(err, os.ErrExist))
	}
	d.made[dir], d.renamed["."] = true, true
	return nil
}

// file looks a file up by its identity.
func (d *Directory) file(id fileID) (*dataFile, error) {
	list := d.files
	if id.redo {
		list = d.redo
	}
	if int64(id.index) >= int64(len(list)) {
		return nil, fmt.Errorf("the clone has no file with index %d", id.index)
	}
	return list[id.index], nil
}

// redoFile makes a file of the redo log, or notes its size when it is announced again.
func (d *Directory) redoFile(meta stream.File) error {
	if int(meta.Index) < len(d.redo) && meta.Size <= maxFileSize {
		return d.redo[meta.Index].update(meta)
	}
	if int(meta.Index) != len(d.redo) || len(d.redo) >= maxRedoFiles || meta.Size > maxFileSize {
		return fmt.Errorf("redo file with index %d and %d bytes: want index %d", meta.Index, meta.Size, len(d.redo))
	}
	f, err := newDataFile(fileID{redo: true, index: meta.Index}, meta, d.redoPath(meta.Index))
	if err != nil {
		return err
	}
	if err := d.makeFile(f); err != nil {
		return err
	}
	d.redo = append(d.redo, f)
	return nil
}

// redoPath is where the donor's version keeps a file of its redo log.
func (d *Directory) redoPath(index uint32) string {
	if d.server.AtLeast(8, 0, 30) {
		return "#innodb_redo/#ib_redo" + strconv.Itoa(int(index))
	}
	return "ib_logfile" + strconv.Itoa(int(index))
}

// Expect announces data that is going to be written: for each task in the order in which it sends, and before the call of Data for it.
// The ledger then knows what is still missing of a chunk that its task has left.
func (d *Directory) Expect(h stream.DataHeader) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h.Stage == d.stage.Stage && !d.ended {
		d.ledger.expect(h)
	}
}

// Data writes what has arrived of a file, unpacked. data is not kept. The pages in it are checked; a bad one is an error only when
// the clone ends without having sent it again. What was not announced with Expect is written too, but a later attempt sends it
// again.
func (d *Directory) Data(h stream.DataHeader, data []byte) error {
	f, at, err := d.admit(h, uint64(len(data)))
	if err != nil {
		return err
	}
	var bad badPages
	if f.pages {
		if bad, err = f.check(h.Offset, data); err != nil {
			return err
		}
	}
	if at != "" {
		if err := d.fail(d.write(f, at, h, data)); err != nil {
			return err
		}
	}
	return d.enterWritten(f, h, data, bad)
}

// admit checks whether data has a place in the copy, and returns where it is to be written: "" for nowhere.
func (d *Directory) admit(h stream.DataHeader, n uint64) (f *dataFile, at string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil {
		return nil, "", d.broken
	}
	if h.Stage != d.stage.Stage || d.ended {
		return nil, "", fmt.Errorf("data of %v in %v", h.Stage, d.stage.Stage)
	}
	if !d.ledger.knows(h) {
		return nil, "", fmt.Errorf("block %d of chunk %d: %v has %d chunks", h.Block, h.Chunk, h.Stage, d.ledger.count)
	}
	if f, err = d.file(fileID{redo: h.Stage == stream.StageRedoCopy, index: h.File}); err != nil {
		return nil, "", err
	}
	if err := f.makeRoom(h, n); err != nil {
		return nil, "", err
	}
	if f.deleted {
		return f, "", nil
	}
	return f, f.path, nil
}

// enterWritten keeps account of data that has been written.
func (d *Directory) enterWritten(f *dataFile, h stream.DataHeader, data []byte, bad badPages) error {
	n := uint64(len(data))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes += n
	if h.Stage == stream.StageFileCopy {
		f.arrived.add(h.Offset, n)
	}
	if f.path != "" {
		d.touch(f)
	}
	if f.path != "" && !f.holes() && !f.deleted {
		f.reaches = max(f.reaches, h.Offset+n)
	}
	if f.pages {
		d.pages += n / uint64(f.fsp.PhysicalSize())
		if err := f.note(h.Offset, n, bad); err != nil {
			return err
		}
	}
	d.ledger.written(h)
	return nil
}

// touch notes that f has to be synced.
func (d *Directory) touch(f *dataFile) {
	if !f.unsynced {
		f.unsynced = true
		d.unsynced = append(d.unsynced, f)
	}
}

// StageEnd makes everything of the stage durable and saves the state, with the note of the last Save. When it returns nil the donor
// may forget the stage, even if this process dies next. ErrIncomplete: the donor has not announced all files. Whether all of their content
// has arrived shows when the next stage starts.
func (d *Directory) StageEnd(stage stream.Stage) error {
	d.turn.Lock()
	defer d.turn.Unlock()
	if err := d.close(stage); err != nil || stage == stream.StageInit {
		return err
	}
	return d.checkpoint(context.Background())
}

// close closes the books of a stage.
func (d *Directory) close(stage stream.Stage) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil {
		return d.broken
	}
	if stage != d.stage.Stage || d.ended {
		return fmt.Errorf("end of %v in %v", stage, d.stage.Stage)
	}
	if have, want := len(d.files), int(d.stage.Files); stage == stream.StageFileCopy && have < want {
		d.broken = fmt.Errorf("%w: %d of %d files were announced", ErrIncomplete, have, want)
		return d.broken
	}
	d.ended = true
	d.ledger.end()
	return nil
}

// checkArrived reports what FILE_COPY lacks. That can be said only after the batch of changes that follows it: of a file that was dropped
// meanwhile the donor sends nothing more, and when it said so an attempt may just have broken. It says it again in the batch.
func (d *Directory) checkArrived() error {
	for _, f := range d.files {
		if offset, missing := f.arrived.missing(); missing && !f.deleted {
			return fmt.Errorf("%w: %s lacks the part at offset %d", ErrIncomplete, f.name, offset)
		}
		f.arrived = coverage{unit: f.arrived.unit} // has served its purpose
	}
	return nil
}

// Interrupt ends an attempt: no Data of it is under way any more. A batch of changes that no StageStart followed is forgotten, the
// donor repeats it; of a chunk that was begun the blocks up to the first missing one count.
func (d *Directory) Interrupt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.interrupt()
}

func (d *Directory) interrupt() {
	d.batch = batch{}
	d.ledger.interrupt()
	if d.stage.Stage == stream.StageInit {
		d.stage, d.ended = stream.StageStart{}, false // there is nothing to hold of it
	}
}

// Progress is what is written by now, which is what the next attempt of this process need not bring. Not all of it is durable: a
// process that comes after this one holds what was written at the last Save.
func (d *Directory) Progress() protocol.Progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stage.Stage <= stream.StageInit {
		return protocol.Progress{}
	}
	held, open := d.ledger.resumable()
	return protocol.Progress{
		State:      protocol.State(d.stage.Stage),
		Ended:      d.ended,
		Files:      uint32(len(d.files)),
		AllFiles:   d.stage.Stage > stream.StageFileCopy || len(d.files) >= int(d.stage.Files),
		RedoFiles:  uint32(len(d.redo)),
		ChunkCount: d.stage.Chunks,
		Chunks:     held,
		Partial:    partials(open),
	}
}
