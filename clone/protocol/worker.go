package protocol

import (
	"context"
	"time"

	"ordinal/internal/background"
)

// employ runs the workers. pending ends when no more are needed.
func (l *leg) employ(ctx, pending context.Context) {
	now := 0
	hire := func(count int) {
		for now < count {
			now++
			task := uint32(now)
			l.wg.Go(func() {
				background.Goroutine()
				// When the leg is over its connections are closed: that is no failure.
				if err := l.work(ctx, pending, task); err != nil && ctx.Err() == nil {
					l.fail(err)
				}
			})
		}
	}
	if !l.opts.Adapt {
		hire(l.opts.Workers)
		return
	}
	hire(min(1, l.opts.Workers))
	if _, err := l.gate.await(pending, StateFileCopy); err != nil {
		return
	}
	tick := time.NewTicker(adaptEvery)
	defer tick.Stop()
	var before uint64
	for again := now < l.opts.Workers; again; {
		from := l.copied.Load()
		select {
		case <-pending.Done():
			return
		case <-tick.C:
		}
		rate := l.copied.Load() - from
		var count int
		if count, again = moreWorkers(now, l.opts.Workers, before, rate); count > now {
			before = rate
			hire(count)
		}
	}
}

const adaptEvery = time.Second

// moreWorkers decides how many workers to have when now of them, and the main connection, brought rate bytes in the last second, and
// fewer of them had brought before. It doubles them while each time brings a tenth more. again reports whether to look again in a
// second.
func moreWorkers(now, most int, before, rate uint64) (count int, again bool) {
	switch {
	case now >= most:
		return now, false
	case rate == 0: // nothing was sent: there was nothing to see
		return now, true
	case rate < before+before/10:
		return now, false
	}
	count = min(2*now, most)
	return count, count < most
}

// work drives a worker. It returns nil when the clone ended without needing it.
// pending ends when it is too late to attach.
func (l *leg) work(ctx, pending context.Context, task uint32) error {
	w, err := l.connect(pending)
	if err != nil {
		if l.gate.isFinished() {
			return nil
		}
		return err
	}
	stop := context.AfterFunc(pending, func() { l.disconnect(w.nc) })
	// Answered only once the donor copies files.
	err = w.call("attach", cmdAttach, initBlock(l.params.Negotiated, l.opts.DDLTimeout, l.locator[:]), func(m any) error {
		if _, ok := m.(locators); !ok {
			return protocolError("%T instead of locators", m)
		}
		return nil
	})
	if err != nil {
		l.disconnect(w.nc)
		if l.gate.isFinished() {
			return nil
		}
		return err
	}
	// Before EXECUTE: from then on the donor gives it data that main must wait for.
	if !l.gate.attach(task) {
		l.disconnect(w.nc)
		return nil
	}
	if !stop() {
		l.gate.leave(task)
		return nil
	}
	l.workerMu.Lock()
	l.attached = append(l.attached, w)
	l.workerMu.Unlock()
	if _, err := l.gate.await(ctx, StateFileCopy); err != nil {
		return err
	}
	if err := w.send(cmdExecute, nil); err != nil {
		return &brokenError{"execute worker: send to donor", err}
	}
	return l.follow(ctx, w, task)
}

// follow receives what the donor sends to a worker, always behind main.
func (l *leg) follow(ctx context.Context, w *conn, task uint32) error {
	var at State // the stage whose data may be handed over; 0 between stages
	enter := func(s State) error {
		if at == s {
			return nil
		}
		main, err := l.gate.await(ctx, s)
		if err != nil {
			return err
		}
		if main != s {
			return protocolError("worker %d is in %v, main in %v", task, s, main)
		}
		at = s
		return nil
	}
	for {
		m, err := w.next("execute worker")
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case taskMeta:
		case stateMeta:
			switch {
			case m.keepAlive():
			case m.start() && m.state == StateDone:
			case m.start():
				if err := enter(m.state); err != nil {
					return err
				}
			default:
				// May be a stage that main has left already: a worker that attached late got none of its data.
				if _, err := l.gate.await(ctx, m.state); err != nil {
					return err
				}
				at = 0
				l.gate.end(task, m.state)
			}
		case FileMeta:
			if err := enter(m.State); err != nil {
				return err
			}
			if !m.Redo() && !m.Deleted() {
				return protocolError("worker %d announces file %q", task, m.Name)
			}
			if err := l.file(ctx, m, false); err != nil {
				return err
			}
		case dataMeta:
			if err := enter(m.State); err != nil {
				return err
			}
			if err := l.data(ctx, w, m); err != nil {
				return err
			}
		case complete:
			l.gate.end(task, StateDone)
			return nil
		default:
			return protocolError("worker %d: %T", task, m)
		}
	}
}
