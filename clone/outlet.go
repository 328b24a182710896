package clone

import (
	"context"
	"time"

	"ordinal/clone/protocol"
	"ordinal/internal/pace"
	"ordinal/internal/pack"
	"ordinal/stream"
)

// Values of --compress.
const (
	CompressAuto = "auto" // where it makes the copy faster
	CompressOn   = "on"
	CompressOff  = "off"
)

// An outlet sends the data of one task on a lane: no faster than allowed, and packed where that pays. It is for one goroutine.
type outlet struct {
	session *session
	limiter *pace.Limiter
	to      *lane
	packer  *pack.Packer  // nil: nothing is packed
	chooser *pack.Chooser // nil with a packer: everything is
	shed    bool          // the limit follows the server's latency
}

func (d *Donor) outlet(s *session, to *lane) *outlet {
	o := &outlet{session: s, limiter: d.limiter, to: to, shed: d.cfg.LatencyLimit > 0}
	switch s.wants.Compress {
	case CompressOn:
		o.packer = pack.NewPacker()
	case CompressAuto:
		o.packer, o.chooser = pack.NewPacker(), &s.chooser
	}
	return o
}

// send sends one block.
func (o *outlet) send(ctx context.Context, d protocol.Data, payload []byte) error {
	h := stream.DataHeader{
		Stage: stream.Stage(d.State), Task: uint16(d.Task), File: d.File, Chunk: d.Chunk, Block: d.Block, Offset: d.Offset, FileSize: d.FileSize,
	}
	data := o.pack(&h, payload)
	begun := time.Now()
	charge := len(data)
	if o.shed {
		charge = len(payload) // what it costs the donor's disk
	}
	if err := o.limiter.Wait(ctx, charge); err != nil {
		return kept(err)
	}
	if o.shed {
		begun = time.Now() // the donor's load is no slow link: packing would not help it
	}
	if err := o.to.w.Data(h, data); err != nil {
		return keep(err)
	}
	if o.chooser != nil {
		o.chooser.Sent(len(payload), len(data), time.Since(begun))
	}
	o.session.count(len(data))
	return nil
}

// pack returns payload, or what it was packed to; then it says so in h.
func (o *outlet) pack(h *stream.DataHeader, payload []byte) []byte {
	if o.packer == nil || o.chooser != nil && !o.chooser.Pack(len(payload)) {
		return payload
	}
	begun := time.Now()
	packed, ok := o.packer.Pack(payload)
	if ok {
		h.Encoding, h.RawLen = stream.Zstd, uint32(len(payload))
	} else {
		packed = payload
	}
	if o.chooser != nil {
		o.chooser.Packed(len(payload), len(packed), time.Since(begun))
	}
	return packed
}

// setRate applies the lower of what donor and recipient allow.
func (d *Donor) setRate(s *session) uint64 {
	most := d.cfg.MaxRate
	if asked := s.wants.MaxRate; asked != 0 && (most == 0 || asked < most) {
		most = asked
	}
	d.limiter.SetRate(most)
	return most
}

// shed keeps the copy from slowing the server's commits down beyond the limit, until over.
func (d *Donor) shed(ctx context.Context, s *session, over <-chan struct{}) error {
	most := d.setRate(s)
	if d.cfg.LatencyLimit == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-over:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := pace.NewShedder(d.cfg.LatencyLimit, most).Run(ctx, d.limiter, d.cfg.Latency); err != nil {
		d.event(s, "blind", err) // the copy goes on at the rate it has
	}
	return nil
}
