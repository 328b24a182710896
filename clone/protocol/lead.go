package protocol

import (
	"context"
	"fmt"
)

// lead drives the main connection from EXECUTE to its completion, or to errReconnect. end ends the leg.
func (l *leg) lead(ctx context.Context, end context.CancelCauseFunc) error {
	if err := l.main.send(cmdExecute, nil); err != nil {
		return &brokenError{"execute: send to donor", err}
	}
	for {
		m, err := l.main.next("execute")
		if err != nil {
			if ctx.Err() != nil { // who ended it closed the connection
				return context.Cause(ctx)
			}
			return err
		}
		if s, ok := m.(stateMeta); ok && s.keepAlive() {
			continue
		}
		if _, ok := m.(taskMeta); ok {
			continue
		}
		if err := l.closed(ctx, m); err != nil {
			return err
		}
		if _, ok := m.(complete); ok {
			if l.at.State != StateDone {
				return protocolError("completion in %v", l.at.State)
			}
			return nil
		}
		if err := l.take(ctx, end, m); err != nil {
			return err
		}
	}
}

// take handles one message of the main connection.
func (l *leg) take(ctx context.Context, end context.CancelCauseFunc, m any) error {
	switch m := m.(type) {
	case stateMeta:
		if m.start() {
			return l.startStage(ctx, m)
		}
		return l.endStage(ctx, end, m)
	case FileMeta:
		return l.fileMeta(ctx, m)
	case dataMeta:
		if l.ended || l.hold != nil || m.State != l.at.State {
			return l.misplaced("data", m.State)
		}
		if err := l.begin(ctx); err != nil {
			return err
		}
		return l.data(ctx, l.main, m)
	default:
		return protocolError("%T in %v", m, l.at.State)
	}
}

// misplaced is the error of a message of a state that it does not belong to.
func (l *leg) misplaced(what string, s State) error {
	if l.resumed && !l.started && s > l.at.State {
		return lost(s, l.at.State)
	}
	return protocolError("%s of %v in %v", what, s, l.at.State)
}

func (l *leg) startStage(ctx context.Context, m stateMeta) error {
	if !l.ended || m.state != l.at.State+1 {
		return l.misplaced("start", m.state)
	}
	stage := m.stage()
	switch {
	case stage.State == StateFileCopy && stage.Files > maxFiles:
		return protocolError("%d files, at most %d", stage.Files, maxFiles)
	case stage.Chunks > maxChunks:
		return protocolError("%d chunks, at most %d", stage.Chunks, maxChunks)
	}
	heard := l.heard == stage.State
	l.at, l.ended, l.started, l.hold, l.heard = stage, false, true, nil, 0
	l.next = Progress{State: stage.State, ChunkCount: stage.Chunks, AllFiles: stage.State > StateFileCopy}
	if stage.State == StateDone {
		return nil
	}
	l.mu.Lock()
	l.stage = stage
	l.mu.Unlock()
	l.chunks.Store(stage.Chunks)
	if !heard {
		l.enterSink()
		err := l.sink.StageStart(ctx, stage)
		l.leaveSink()
		if err != nil {
			return err
		}
	}
	// Workers must know all files before they ask for data.
	l.waiting, l.expected = true, stage.Files
	if stage.State == StatePageCopy || stage.Files == 0 {
		return l.begin(ctx)
	}
	return nil
}

func (l *leg) fileMeta(ctx context.Context, m FileMeta) error {
	switch {
	case l.ended && m.State == l.at.State+1 && !m.Redo(): // what DDL did
	case !l.ended && l.hold == nil && m.State == l.at.State:
	default:
		return l.misplaced("file", m.State)
	}
	if l.ended && l.heard == m.State {
		return nil // a batch that the receiver has closed
	}
	if err := l.file(ctx, m, l.ended); err != nil {
		return err
	}
	if !l.waiting {
		return nil
	}
	if !l.asked {
		l.metas = append(l.metas, m)
	}
	if l.expected--; l.expected == 0 {
		return l.begin(ctx)
	}
	return nil
}

// begin opens a stage to data and to workers when its files are known. errReconnect: the donor has to be told first of what it need not send.
func (l *leg) begin(ctx context.Context) error {
	if !l.waiting {
		return nil
	}
	l.waiting, l.next.AllFiles = false, true
	if l.at.State == StateFileCopy && !l.asked {
		taken, err := l.askTake(ctx)
		if err != nil {
			return err
		}
		if taken {
			return errReconnect
		}
	}
	l.gate.enter(l.at.State)
	l.hire()
	return nil
}

// askTake lets the caller take chunks on itself, and reports whether it took any.
func (l *leg) askTake(ctx context.Context) (taken bool, err error) {
	l.enterSink()
	chunks, err := l.opts.Take(ctx, l.at, l.metas)
	l.leaveSink()
	l.asked, l.metas = true, nil
	switch {
	case err != nil:
		return false, err
	case chunks.last() > l.at.Chunks:
		return false, fmt.Errorf("chunk %d was taken, of %d", chunks.last(), l.at.Chunks)
	case chunks.Count() == 0:
		return false, nil
	}
	l.next = l.next.with(chunks)
	return true, nil
}
