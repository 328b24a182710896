package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"ordinal/backup"
	"ordinal/backup/store"
)

// An uploader stores cuts, one after the other and in their order, so that what is archived never has a hole at its end.
type uploader struct {
	o      Options
	store  store.Store // with patience
	packer *backup.Packer
	board  *board
	writer string
	cuts   chan cut      // not buffered: one is stored while the next one fills
	ended  chan struct{} // closed when nothing is taken any more

	number, series int
	marked         time.Time // when the last watermark was written
	swept          bool      // watermarks of earlier writers were looked at
}

func newUploader(o Options, p *backup.Packer, b *board) *uploader {
	return &uploader{
		o: o, store: store.Retry(o.Store, o.Patience), packer: p, board: b, writer: newWriter(),
		cuts: make(chan cut), ended: make(chan struct{}),
	}
}

// newSeries returns an id for the parts of a long transaction.
func (u *uploader) newSeries() string {
	u.series++
	return fmt.Sprintf("%s-%d", u.writer, u.series)
}

// take hands a cut over. After ctx's end it still waits for a moment, so that what was read is stored.
func (u *uploader) take(ctx context.Context, c cut) error {
	select {
	case u.cuts <- c:
		return nil
	default:
	}
	late, stop := afterEnd(ctx, u.o.Grace)
	defer stop()
	select {
	case u.cuts <- c:
		return nil
	case <-u.ended:
		return errUploaderEnded
	case <-late.Done():
		return context.Cause(ctx)
	}
}

var errUploaderEnded = errors.New("nothing is stored any more")

// afterEnd returns a context that ends some time after ctx.
func afterEnd(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(grace, cancel)
		context.AfterFunc(late, func() { t.Stop() })
	})
	return late, func() { stop(); cancel() }
}

// run stores what comes until cuts is closed. After ctx's end it has a moment to be done.
func (u *uploader) run(ctx context.Context) error {
	defer close(u.ended)
	late, stop := afterEnd(ctx, u.o.Grace)
	defer stop()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case c, ok := <-u.cuts:
			if !ok {
				return u.end(late)
			}
			if c.stored != nil {
				close(c.stored)
				continue
			}
			if err := u.put(late, c); err != nil {
				return err
			}
		case <-tick.C:
		case <-late.Done():
			return nil
		}
		if time.Since(u.marked) >= u.o.WatermarkEvery && ctx.Err() == nil {
			u.board.report("watermark", u.watermark(late))
		}
	}
}

// end writes down how far all has come.
func (u *uploader) end(ctx context.Context) error {
	if !u.marked.After(time.Now()) {
		_ = u.watermark(ctx) // an older one is there
	}
	return nil
}

// put stores one cut, as long as that takes. It returns nil when ctx has ended.
func (u *uploader) put(ctx context.Context, c cut) error {
	object, name, err := u.object(c)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	raw := len(c.raw)
	c.raw = nil
	for pause := u.o.Patience.Pause; ; pause = min(2*pause, longestPause) {
		err := u.store.Put(ctx, name, int64(len(object)), bytes.NewReader(object))
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		u.board.report("store", fmt.Errorf("store a segment: %w", err))
		if rest(ctx, pause) != nil {
			return nil
		}
	}
	u.board.report("store", nil)
	u.board.update(func(s *Status) {
		s.Segments++
		s.RawBytes += uint64(raw)
		s.StoredBytes += uint64(len(object))
		s.LastStored = time.Now().UTC()
	})
	if !c.aside && (c.Series == "" || c.LastPart) {
		u.board.stored(c.previous.Union(c.gtids))
	}
	return nil
}

// flush returns when all that was handed over is stored.
func (u *uploader) flush(ctx context.Context) error {
	c := cut{stored: make(chan struct{})}
	if err := u.take(ctx, c); err != nil {
		return err
	}
	select {
	case <-c.stored:
		return nil
	case <-u.ended:
		return errUploaderEnded
	}
}

// object returns a cut as it is stored, and its name.
func (u *uploader) object(c cut) (object []byte, name string, err error) {
	packed, err := u.packer.Pack(nil, c.raw)
	if err != nil {
		return nil, "", err
	}
	m := c.member
	m.Size, m.Digest = int64(len(packed)), backup.Digest(packed)
	h := header{Cluster: u.o.Cluster, Set: u.o.Set, Written: time.Now().UTC()}
	if e := u.packer.Encryption(); e != nil {
		h.Encryption, m.Encryption = []backup.Encryption{*e}, 1
	}
	h.Members = []member{m}
	if object, err = encodeObject(h, u.o.Keys); err != nil {
		return nil, "", err
	}
	u.number++
	return append(object, packed...), segmentName(c.Cut, u.writer, u.number), nil
}
