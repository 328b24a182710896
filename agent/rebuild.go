package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"ordinal/internal/volume"
)

// rebuildRest is how long a rebuild that failed is left alone before it is tried again.
const rebuildRest = time.Minute

// A rebuild makes a copy of another pod's data beside what this pod serves. It is under way until done is closed.
type rebuild struct {
	cause  rebuildCause
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	now   showing
	err   error
	ended time.Time
}

// startRebuild begins one. What no other pod has is exported first.
func (r *runner) startRebuild(ctx context.Context, cause rebuildCause, generation int) {
	ctx, cancel := context.WithCancel(ctx)
	b := &rebuild{cause: cause, cancel: cancel, done: make(chan struct{}), now: showing{State: StateWaitingForDonor}}
	r.rebuild = b
	r.log.Warn("building a new copy beside the data", zap.String("reason", string(cause.Code)), zap.String("why", cause.Message))
	go func() {
		defer close(b.done)
		err := r.build(ctx, b, generation)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.err, b.ended = err, r.now()
		if err != nil && ctx.Err() == nil {
			r.log.Warn("the new copy could not be made", zap.Error(err))
		}
	}()
}

// build exports, copies and leaves a complete generation that waits for mysqld to be restarted.
func (r *runner) build(ctx context.Context, b *rebuild, generation int) error {
	if !b.cause.OnlyHere.IsEmpty() {
		if err := r.exportErrant(ctx, b.cause.OnlyHere, generation); err != nil {
			return err
		}
	}
	c := newCloner(workshop{
		self: r.self, vol: r.vol, keys: r.keys, metrics: r.metrics, beat: func() {},
		show: func(now showing) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.now = now
		},
	})
	c.lineage = b.cause.Lineage
	c.replaces = &volume.Replacement{Generation: generation, Reason: string(b.cause.Code), Message: b.cause.Message, OnlyHere: b.cause.OnlyHere.String()}
	c.choose = c.fromPrevious
	if r.id.Role() == RoleSource {
		c.choose = newSourceChooser(c, r.now()).choose
	}
	copied, err := c.run(ctx)
	if err == nil && !copied {
		err = errors.New("nobody has data")
	}
	return err
}

// dropRebuild ends a rebuild whose cause has gone. What it has copied is removed.
func (r *runner) dropRebuild(ctx context.Context) error {
	if r.rebuild == nil {
		return nil
	}
	r.rebuild.cancel()
	<-r.rebuild.done
	r.rebuild = nil
	content, err := r.vol.Inspect()
	if err != nil {
		return err
	}
	if record, ok := content.Building(); ok {
		r.log.Info("the reason for a new copy is gone: removing it", zap.Int("generation", record.Number))
		return r.vol.Discard(ctx, record.Number)
	}
	return nil
}

// endRebuild leaves a rebuild as it is: the next process goes on with it.
func (r *runner) endRebuild() {
	if r.rebuild != nil {
		r.rebuild.cancel()
		<-r.rebuild.done
	}
}

// rebuildView tells how the rebuild stands; nil: there is none.
func (r *runner) rebuildView() *rebuildView {
	b := r.rebuild
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	v := &rebuildView{Cause: b.cause, Now: b.now}
	if b.err != nil {
		v.Failed = b.err.Error()
		v.Resting = r.now().Sub(b.ended) < rebuildRest
	}
	return v
}
