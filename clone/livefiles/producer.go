package livefiles

import (
	"cmp"
	"context"
	"sync"

	"ordinal/clone/protocol"
	"ordinal/internal/arena"
)

// What a producer does when it is not told otherwise. Measured: see BenchmarkProducer.
const (
	defaultReads     = 4
	defaultReadBytes = 1 << 20
)

// A Producer reads pieces and hands their blocks over, one after the other, while the next reads are under way. The zero value
// is ready to use. It holds no state: one value may serve several Runs at a time, each with Reads × ReadBytes of memory.
type Producer struct {
	Reads     int // in flight at most; 0: 4
	ReadBytes int // of one read, at most, in bytes; rounded to whole blocks, one at least; 0: 1 MiB
}

// Deliver takes a block, as a Sink's Data does. data begins at a multiple of 4096 bytes in memory, and is valid only during the call.
type Deliver func(ctx context.Context, d protocol.Data, data []byte) error

// Run takes pieces from w until there are none, and delivers their blocks: those of a chunk in order, one chunk after
// the other, with task as Data.Task. deliver is not called concurrently by one Run; while it blocks, nothing more is read than what is
// under way. Run returns after its goroutines have.
//
// Errors: deliver's as it is; a *ReadError; the cause of ctx's end. What was delivered before is good.
func (p *Producer) Run(ctx context.Context, w *Work, task uint32, deliver Deliver) error {
	q := readQueue{work: w, most: w.block}
	if n := uint64(cmp.Or(max(p.ReadBytes, 0), defaultReadBytes)); n > w.block {
		q.most = n / w.block * w.block
	}
	lanes := make([]*readLane, cmp.Or(max(p.Reads, 0), defaultReads))
	memory, err := arena.New(len(lanes) * int(q.most))
	if err != nil {
		return err
	}
	defer memory.Free()
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range lanes {
		lanes[i] = newReadLane(memory.Take(int(q.most)))
		defer close(lanes[i].todo)
		wg.Go(lanes[i].work)
	}
	for head, busy := 0, 0; ; head, busy = head+1, busy-1 {
		for ; busy < len(lanes); busy++ {
			s, ok := q.next()
			if !ok {
				break
			}
			lanes[(head+busy)%len(lanes)].start(s)
		}
		if busy == 0 {
			return nil
		}
		if err := lanes[head%len(lanes)].deliver(ctx, task, deliver); err != nil {
			return err
		}
	}
}
