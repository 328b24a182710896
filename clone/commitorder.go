package clone

import (
	"context"
	"time"
)

// stuckAfter is how long the server's way from PAGE_COPY to REDO_COPY may take before it counts as stuck. It normally takes
// milliseconds.
const stuckAfter = 2 * time.Second

// releaseWhenStuck frees a replica that blocks itself while it is copied. Before REDO_COPY its server waits for every prepared
// transaction to end. One of these may be waiting, for the order of commits, for an index build before it; and index builds wait
// for the server to have left PAGE_COPY. The server gives up after five minutes, with nothing copied.
//
// release throws the prepared transactions back; replication executes them again. It is called as long as the server is stuck.
func releaseWhenStuck(ctx context.Context, over <-chan struct{}, r *relaySink, release func(context.Context) (int, error)) {
	select {
	case <-r.pagesAcked:
	case <-over:
		return
	case <-ctx.Done():
		return
	}
	tick := time.NewTicker(stuckAfter)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			// A failure is no reason to give the copy up: the server may get on by itself, and else says why it did not.
			_, _ = release(ctx)
		case <-r.redoEntered:
			return
		case <-over:
			return
		case <-ctx.Done():
			return
		}
	}
}
