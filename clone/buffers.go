package clone

import (
	"context"
	"sync"

	"ordinal/internal/arena"
	"ordinal/stream"
)

// buffers hands out memory for frames: so many pieces, of which each is big enough, and aligned for direct writes where the data is.
type buffers struct {
	size   int
	memory *arena.Arena
	free   chan []byte
	mu     sync.Mutex
	made   int
}

// Frames in memory, read and not yet written.
const (
	buffersPerTransfer = 6
	buffersPerLane     = 2
)

// newBuffers returns buffers for an attempt. The caller closes them when nobody uses any more.
func newBuffers(pageSize uint32, lanes int) (*buffers, error) {
	// The server sends 64 pages at a time; a frame is never thought to be smaller than 1 MiB.
	size := min(stream.MaxData, max(1<<20, 64*int(pageSize)))
	n := buffersPerTransfer + buffersPerLane*lanes
	// Beside those for frames, each writer has one to unpack into.
	memory, err := arena.New(n*stride(size) + writers*stride(size))
	if err != nil {
		return nil, err
	}
	return &buffers{size: size, memory: memory, free: make(chan []byte, n)}, nil
}

// stride is what a buffer takes: the data is preceded by its description, and both begin where a page does.
func stride(size int) int { return arena.Align + (size+arena.Align-1)/arena.Align*arena.Align }

// take returns new memory for a frame.
func (b *buffers) take() []byte {
	return b.memory.Take(stride(b.size))[arena.Align-stream.DataOverhead:][:stream.DataOverhead+b.size]
}

// scratch returns memory to unpack into.
func (b *buffers) scratch() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.memory.Take(stride(b.size))[:b.size]
}

// close frees the memory.
func (b *buffers) close() { b.memory.Free() }

// get returns a free buffer, waiting for the writers when all are in use.
func (b *buffers) get(ctx context.Context) ([]byte, error) {
	select {
	case buf := <-b.free:
		return buf, nil
	default:
	}
	b.mu.Lock()
	if b.made < cap(b.free) {
		b.made++
		defer b.mu.Unlock()
		return b.take(), nil
	}
	b.mu.Unlock()
	select {
	case buf := <-b.free:
		return buf, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (b *buffers) put(buf []byte) { b.free <- buf }
