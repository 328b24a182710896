package binlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"ordinal/mysqlx"
)

// MaxListed is the number of transactions that a Result lists.
const MaxListed = 10_000

// A Result says what Export did. The JSON form is that of docs/formats/errant-transactions.md.
type Result struct {
	Exported mysqlx.GTIDSet `json:"exported"`
	// Missing is what was wanted and is in no binlog: it was purged, or never logged.
	Missing mysqlx.GTIDSet `json:"missing"`
	Count   int            `json:"count"` // of transactions in the file
	Bytes   int64          `json:"bytes"` // of the file
	// Transactions are the first MaxListed of the file, in its order.
	Transactions []Transaction `json:"transactions"`
}

// Export writes the transactions of want that are in the binlogs of dir to out, as one binlog that mysqlbinlog and servers take:
// in the order in which they were logged, byte for byte. base is the binlogs' base name, like "binlog"; their index file says
// which there are. If there is nothing to write, nothing is written. Binlogs whose transactions, by the GTIDs at their beginning, cannot
// be wanted are not read.
//
// A server may be running and writing: what it has completed counts. A binlog that the index lists and that is not there was purged in the
// meantime.
//
// Memory does not depend on the size of transactions. After an error, ctx's included, out holds an unusable part of a file. Errors besides: those of
// Files, of Reader and of out.
func Export(ctx context.Context, dir *os.Root, base string, want mysqlx.GTIDSet, out io.Writer) (Result, error) {
	buffered := bufio.NewWriterSize(out, readSize)
	e := exporter{ctx: ctx, dir: dir, left: want, out: NewWriter(buffered)}
	e.result.Transactions = []Transaction{}
	err := e.exportAll(base)
	if err == nil {
		err = e.out.End()
	}
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		return Result{}, fmt.Errorf("export transactions: %w", err)
	}
	e.result.Missing, e.result.Bytes = e.left, e.out.Size()
	return e.result, nil
}

type exporter struct {
	ctx       context.Context
	dir       *os.Root
	left      mysqlx.GTIDSet // what is wanted and not written yet
	out       *Writer
	described *logFile // where the last transaction came from
	copier    Reader
	result    Result
}

// A logFile is an open binlog whose beginning was read.
type logFile struct {
	*Reader
	file   *os.File
	before mysqlx.GTIDSet // in the binlogs before it
	known  bool           // whether before is known
}

func (l *logFile) close() {
	if l != nil {
		_ = l.file.Close() // it was only read
	}
}

func (e *exporter) exportAll(base string) error {
	names, err := Files(e.dir, base)
	if err != nil {
		return err
	}
	var log *logFile
	defer func() { log.close() }()
	for {
		next, err := e.openFirst(&names) // its beginning says what is in log
		if err != nil {
			return err
		}
		if log != nil {
			err = e.exportFrom(log, next)
			log.close()
		}
		log = next
		if err != nil || log == nil || e.left.IsEmpty() {
			return err
		}
	}
}

// openFirst opens the first of names that exists and takes it off the list with those before. It returns nil if there is none.
func (e *exporter) openFirst(names *[]string) (l *logFile, err error) {
	for len(*names) > 0 && l == nil && err == nil {
		l, err = e.open((*names)[0])
		*names = (*names)[1:]
	}
	return l, err
}

// open returns nil if there is no such binlog any more.
func (e *exporter) open(name string) (*logFile, error) {
	f, err := open(e.dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open binlog: %w", err)
	}
	l := &logFile{file: f}
	if l.Reader, err = NewReader(name, contextReader{e.ctx, f}); err == nil {
		l.before, l.known, err = l.PreviousGTIDs()
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return l, nil
}

// exportFrom copies what is wanted of a binlog. next is the one after it, nil after the last.
func (e *exporter) exportFrom(log, next *logFile) error {
	candidates := e.left
	if log.known {
		candidates = candidates.Subtract(log.before)
	}
	if next != nil {
		log.Live = false
		if next.known {
			candidates = candidates.Subtract(candidates.Subtract(next.before))
		}
	}
	if candidates.IsEmpty() {
		return nil
	}
	for t, err := range log.Transactions() {
		if err != nil {
			return err
		}
		if t.GTID == "" {
			continue
		}
		gtid, err := mysqlx.ParseGTIDSet(t.GTID)
		if err != nil {
			return log.damage(t.Position, err.Error())
		}
		if !e.left.Contains(gtid) {
			continue
		}
		if err := e.copy(log, t); err != nil {
			return err
		}
		e.result.Exported, e.left = e.result.Exported.Union(gtid), e.left.Subtract(gtid)
		e.result.Count++
		if len(e.result.Transactions) < MaxListed {
			e.result.Transactions = append(e.result.Transactions, t)
		}
		if e.left.IsEmpty() {
			return nil
		}
	}
	return nil
}

// copy writes one transaction that was read and found right, and verifies it again.
func (e *exporter) copy(log *logFile, t Transaction) error {
	// The form is said again for each binlog that something comes from, even if it is the same: see Writer.Describe.
	if e.described != log {
		e.described = log
		if err := e.out.Describe(log.Description()); err != nil {
			return err
		}
	}
	e.copier.section(t.Binlog, contextReaderAt{e.ctx, log.file}, t.Position, t.Bytes, log.Description())
	for {
		_, err := e.copier.Next()
		if err == nil {
			err = e.copier.Copy(e.out)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// A contextReader reads until its context ends.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

type contextReaderAt struct {
	ctx context.Context
	io.ReaderAt
}

func (r contextReaderAt) ReadAt(p []byte, at int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.ReaderAt.ReadAt(p, at)
}
