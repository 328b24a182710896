package clone

import (
	"cmp"
	"context"
	"errors"

	"ordinal/clone/livefiles"
	"ordinal/clone/protocol"
	"ordinal/internal/background"
)

// directTask is the number of the first producer that reads files directly; the server's own tasks have lower ones.
const directTask = 1 << 10

// direct reports whether the agent reads the data files of s itself.
func (d *Donor) direct(s *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.fallback && d.cfg.LiveDir != "" && (d.cfg.Copy == CopyAuto || d.cfg.Copy == CopyDirect)
}

// take opens the files that the server has named and returns the chunks that it need not send. What cannot be read directly is left to
// the server: that is no error.
func (d *Donor) take(ctx context.Context, s *session, named []protocol.FileMeta) protocol.ChunkSet {
	s.mu.Lock()
	a, side, files := s.attempt, s.side, s.files
	s.mu.Unlock()
	defer a.decide(nil)
	if files == nil {
		var err error
		if files, err = d.openFiles(ctx, named); err != nil {
			d.fallBack(s, err)
			return nil
		}
		s.mu.Lock()
		s.files = files
		s.mu.Unlock()
	}
	d.setCopy(s, CopyDirect)
	a.decide(files.Lacking(a.progress))
	side.sink.hold(true)
	return files.Chunks()
}

func (d *Donor) openFiles(ctx context.Context, named []protocol.FileMeta) (*livefiles.Set, error) {
	server, err := d.cfg.Files(ctx)
	if err != nil {
		return nil, err
	}
	return livefiles.Open(ctx, d.cfg.LiveDir, server, named)
}

// fallBack leaves the files to the server from now on.
func (d *Donor) fallBack(s *session, err error) {
	s.mu.Lock()
	s.fallback = true
	s.mu.Unlock()
	d.setCopy(s, CopyServer)
	d.event(s, "fallback", err)
}

func (d *Donor) setCopy(s *session, how string) {
	s.mu.Lock()
	s.copy = how
	s.mu.Unlock()
}

// produce reads files directly and sends them on a lane, until there is nothing left to read. It has nothing to do when the server sends
// them, and stops waiting to learn of it when over is closed.
func (d *Donor) produce(ctx context.Context, s *session, a *attempt, n int, over <-chan struct{}) error {
	select {
	case <-a.ready:
	case <-over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if a.work == nil || !a.beginProducing() {
		return nil
	}
	defer a.producers.Done()
	background.Goroutine()
	out := d.outlet(s, a.joined[n])
	var broken error
	err := new(livefiles.Producer).Run(ctx, a.work, uint32(directTask+n), func(ctx context.Context, data protocol.Data, payload []byte) error {
		broken = out.send(ctx, data, payload)
		return broken
	})
	if err == nil {
		return nil
	}
	if (broken == nil || !errors.Is(err, broken)) && ctx.Err() == nil {
		// The recipient's next attempt gets what is missing from the server.
		d.fallBack(s, err)
	}
	err = kept(err)
	a.spoil(err)
	return err
}

// spoil notes that data which was taken from the list has not been sent, so that the stage cannot end in this attempt.
func (a *attempt) spoil(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.spoilt = cmp.Or(a.spoilt, err)
}

// reads reports whether files are read directly in this attempt.
func (a *attempt) reads() bool {
	select {
	case <-a.ready:
		return a.work != nil
	default:
		return false
	}
}

// beginProducing registers a producer; false when it comes too late.
func (a *attempt) beginProducing() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closing {
		a.producers.Add(1)
	}
	return !a.closing
}

// endFiles waits until all data that is read directly has been written to its lane; the error is a producer's that failed. ctx ends when the server is gone.
func (a *attempt) endFiles(ctx context.Context) error {
	a.decide(nil)
	select {
	case <-a.produced: // the list is empty; others may still be sending what they took from it
	case <-a.ctx.Done():
		return context.Cause(a.ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	a.mu.Lock()
	a.closing = true
	a.mu.Unlock()
	a.producers.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.spoilt == nil {
		close(a.filesEnd)
	}
	return a.spoilt
}
