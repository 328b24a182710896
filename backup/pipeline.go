package backup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"ordinal/backup/store"
)

// complete fills in defaults and refuses what cannot be.
func (j *Job) complete() error {
	if _, err := ParseID(j.ID); err != nil {
		return err
	}
	j.Workers = cmp.Or(max(j.Workers, 0), min(DefaultWorkers, runtime.GOMAXPROCS(0)))
	j.Uploads = cmp.Or(max(j.Uploads, 0), DefaultUploads)
	if j.SegmentBytes == 0 {
		j.SegmentBytes = DefaultSegmentBytes
		// What the donor estimates is copied, and part of it twice.
		for uint64(j.SegmentBytes)*(MaxSegments/2) < j.Hello.EstimatedBytes && j.SegmentBytes < MaxSegmentBytes/4 {
			j.SegmentBytes *= 2
		}
	}
	if j.SegmentBytes < 1 || j.SegmentBytes > MaxSegmentBytes/2 {
		return fmt.Errorf("segments of %d bytes: want 1 to %d", j.SegmentBytes, MaxSegmentBytes/2)
	}
	if len(j.Keys.Seal) == 0 {
		return errors.New("no key to seal it with: the cluster secret is needed")
	}
	return nil
}

// A pipeline takes segments from a segmenter, packs some at a time and stores some at a time. What lies in memory is bounded by the buffers: each is
// in one of the two pools or in one pair of hands.
type pipeline struct {
	job       *Job
	to        store.Writer
	packer    *Packer
	segmenter *segmenter

	ctx    context.Context // of the run; it ends with the first error
	full   chan segment
	packed chan packedSegment
	raw    chan []byte // free memory for what is filled; nil: not made yet
	stored chan []byte // free memory for what is stored

	mu       sync.Mutex
	segments []Segment // that have been stored, by index
}

type packedSegment struct {
	index, events, raw int
	stored             []byte
}

func newPipeline(j *Job, packer *Packer, to store.Writer) *pipeline {
	p := &pipeline{
		job: j, to: to, packer: packer, full: make(chan segment), packed: make(chan packedSegment),
		raw: make(chan []byte, j.Workers+1), stored: make(chan []byte, j.Workers+j.Uploads),
	}
	for range cap(p.raw) {
		p.raw <- nil
	}
	for range cap(p.stored) {
		p.stored <- nil
	}
	p.segmenter = &segmenter{id: j.ID, hello: j.Hello, limit: j.SegmentBytes, memory: p.memory, deliver: p.deliver}
	return p
}

// run calls copy and returns when everything it has given is stored, or when something has failed.
func (p *pipeline) run(ctx context.Context, copy func(ctx context.Context, to Taker) (Copied, error)) (Copied, error) {
	g, ctx := errgroup.WithContext(ctx)
	p.ctx = ctx
	var copied Copied
	g.Go(func() error {
		defer close(p.full)
		var err error
		if copied, err = copy(ctx, p.segmenter); err != nil {
			return err
		}
		return p.segmenter.finish()
	})
	var packing, storing sync.WaitGroup
	packing.Add(p.job.Workers)
	for range p.job.Workers {
		g.Go(func() error {
			defer packing.Done()
			return p.pack()
		})
	}
	storing.Add(p.job.Uploads)
	for range p.job.Uploads {
		g.Go(func() error {
			defer storing.Done()
			return p.store()
		})
	}
	g.Go(func() error {
		packing.Wait()
		close(p.packed)
		return nil
	})
	err := g.Wait()
	return copied, err
}

// deliver takes a segment that is full.
func (p *pipeline) deliver(s segment) error {
	select {
	case p.full <- s:
		return nil
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}

// memory returns memory for a segment.
func (p *pipeline) memory() ([]byte, error) {
	return p.take(p.raw, p.job.SegmentBytes+frameRoom)
}

// take takes memory from a pool, where there is some when others have given it back.
func (p *pipeline) take(pool chan []byte, size int) ([]byte, error) {
	select {
	case memory := <-pool:
		if memory == nil {
			memory = make([]byte, 0, size)
		}
		return memory, nil
	case <-p.ctx.Done():
		return nil, context.Cause(p.ctx)
	}
}

// frameRoom is what a segment may have beyond its limit: the frame that exceeds it. Frames are larger only with large pages.
const frameRoom = 1<<20 + 64<<10

// pack packs segments until there are no more.
func (p *pipeline) pack() error {
	for s := range p.full {
		memory, err := p.take(p.stored, p.job.SegmentBytes+frameRoom+packMargin)
		if err != nil {
			return err
		}
		out := packedSegment{index: s.index, events: s.events, raw: len(s.raw)}
		if out.stored, err = p.packer.Pack(memory[:0], s.raw); err != nil {
			return fmt.Errorf("segment %d: %w", s.index, err)
		}
		p.giveBack(p.raw, s.raw, p.job.SegmentBytes+frameRoom)
		select {
		case p.packed <- out:
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
	}
	return nil
}

// giveBack returns memory to its pool; what has grown beyond the usual size is left to the garbage collector.
func (p *pipeline) giveBack(pool chan []byte, memory []byte, usual int) {
	if cap(memory) > usual+usual/4 {
		memory = nil
	}
	pool <- memory // there is room: it came from there
}

// store stores segments until there are no more.
func (p *pipeline) store() error {
	for s := range p.packed {
		size := int64(len(s.stored))
		name := SegmentName(p.job.ID, s.index)
		if err := p.to.Put(p.ctx, name, size, bytes.NewReader(s.stored)); err != nil {
			return fmt.Errorf("store segment %d: %w", s.index, err)
		}
		p.note(Segment{Index: s.index, Size: size, Raw: int64(s.raw), Events: s.events, Digest: Digest(s.stored)})
		p.giveBack(p.stored, s.stored, p.job.SegmentBytes+frameRoom+packMargin)
		if p.job.Stored != nil {
			p.job.Stored(size)
		}
	}
	return nil
}

// note keeps what is known of a segment that has been stored.
func (p *pipeline) note(s Segment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.segments) < s.Index {
		p.segments = append(p.segments, Segment{})
	}
	p.segments[s.Index-1] = s
}
