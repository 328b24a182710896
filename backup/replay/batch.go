package replay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"ordinal/internal/binlog"
	"ordinal/mysqlx"
)

// A batch is a file of transactions that is ready to be executed.
type batch struct {
	name      string // in the data directory, staged
	gtids     mysqlx.GTIDSet
	count     int
	bytes     int64
	serverIDs map[uint32]bool // of the servers that executed the transactions first
}

// maxServerIDs bounds what a batch remembers. No set of servers has as many.
const maxServerIDs = 10_000

// A batcher copies the transactions of a plan into files.
type batcher struct {
	archive Archive
	dir     *os.Root // the data directory
	owner   owner
	limit   int64 // a file ends with the transaction that reaches it, in bytes
	number  int

	file *os.File
	out  *bufio.Writer
	log  *binlog.Writer
	seen gatherer
	next batch
}

// Run makes all batches and hands each over with send, which may take its time. It holds no more than some 100 KiB.
func (b *batcher) Run(ctx context.Context, steps []Step, send func(batch) error) (err error) {
	defer func() {
		if err != nil && b.file != nil {
			_ = b.file.Close() // it is of no use
		}
	}()
	for _, step := range steps {
		if err := b.step(ctx, step, send); err != nil {
			return err
		}
	}
	return b.end(send)
}

// step copies what is wanted of one segment.
func (b *batcher) step(ctx context.Context, step Step, send func(batch) error) error {
	r, src, err := openSegment(ctx, b.archive, step.Segment)
	if err != nil {
		return err
	}
	defer src.Close()
	var found gatherer
	for {
		t, err := nextTransaction(r, step.Segment)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if !step.GTIDs.Contains(t.set) {
			continue
		}
		if err := b.copy(r, step.Segment, t); err != nil {
			return err
		}
		found.add(t.GTID)
		if b.log.Size() >= b.limit {
			if err := b.end(send); err != nil {
				return err
			}
		}
	}
	if lacks := step.GTIDs.Subtract(found.set()); !lacks.IsEmpty() {
		return &SegmentError{step.Segment.Name, fmt.Errorf("it lacks %s, which its header says it has", shorten(lacks.String()))}
	}
	return nil
}

// copy adds a transaction to the file.
func (b *batcher) copy(r *binlog.Reader, s Segment, t transaction) error {
	if b.file == nil {
		if err := b.begin(); err != nil {
			return err
		}
	}
	if err := b.log.DescribeOnce(r.Description()); err != nil {
		return writeError(err)
	}
	to := &noting{Writer: b.log}
	if err := r.CopyTransaction(to); err != nil {
		if to.err != nil {
			return writeError(to.err)
		}
		return &SegmentError{s.Name, err}
	}
	b.next.count++
	b.seen.add(t.GTID)
	if len(b.next.serverIDs) < maxServerIDs {
		b.next.serverIDs[t.ServerID] = true
	}
	return nil
}

// noting remembers that an error was the writer's.
type noting struct {
	io.Writer
	err error
}

func (n *noting) Write(p []byte) (int, error) {
	k, err := n.Writer.Write(p)
	if err != nil {
		n.err = err
	}
	return k, err
}

func (b *batcher) begin() error {
	b.number++
	name := stagedName(b.number)
	f, err := b.dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err == nil {
		if err = b.owner.give(f); err != nil {
			_ = f.Close()
		}
	}
	if err != nil {
		return writeError(err)
	}
	b.file, b.out = f, bufio.NewWriterSize(f, 256<<10)
	b.log, b.seen = binlog.NewWriter(b.out), gatherer{}
	b.next = batch{name: name, serverIDs: map[uint32]bool{}}
	return nil
}

// end hands the file over, if there is one. It is not synced: mysqld reads what was written, and after a crash of the machine all of it is written again.
func (b *batcher) end(send func(batch) error) error {
	if b.file == nil {
		return nil
	}
	err := b.log.End()
	if err == nil {
		err = b.out.Flush()
	}
	err = errors.Join(err, b.file.Close())
	b.file = nil
	if err != nil {
		return writeError(err)
	}
	b.next.gtids, b.next.bytes = b.seen.set(), b.log.Size()
	return send(b.next)
}

// writeError is for what keeps us from writing into the data directory.
func writeError(err error) error {
	e := &RefusedError{Why: fmt.Sprintf("write relay logs into the data directory: %v", err), Code: exitIO}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Code, e.Help = exitCannotCreate, "give the volume more room, or replay with smaller batches; run it again and it goes on where it was"
	case errors.Is(err, fs.ErrPermission):
		e.Code, e.Help = exitPermission, "run the agent with the uid of mysqld"
	}
	return e
}

// owner is who a file has to belong to, so that mysqld can read and remove it. The zero owner changes nothing.
type owner struct {
	uid, gid int
	change   bool
}

// ownerOf returns the directory's owner, where this process is another one that may give files away.
func ownerOf(dir *os.Root) owner {
	info, err := dir.Stat(".")
	if err != nil {
		return owner{}
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 || st.Uid == 0 {
		return owner{}
	}
	return owner{int(st.Uid), int(st.Gid), true}
}

func (o owner) give(f *os.File) error {
	if !o.change {
		return nil
	}
	return f.Chown(o.uid, o.gid)
}
