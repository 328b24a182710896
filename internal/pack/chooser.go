package pack

import (
	"sync"
	"time"
)

const (
	// round is how many bytes are sent between two decisions; on a slow link, where they take longer than slowRound, some less.
	round     = 32 << 20
	lessRound = 8 << 20
	slowRound = 2 * time.Second
	// enough is how many bytes must have been packed before what packing brings is believed; of more than plenty nothing new is learnt.
	enough = 1 << 20
	plenty = 4 << 20
	// start and keep are what a packed byte may cost, as a part of what a plain one would, to begin with packing, and to go on: the room between
	// them keeps a choice from changing with every breath.
	start, keep = 0.8, 0.9
	// measuring is the part of the time that may go into packing while nothing is to be packed.
	measuring = 0.01
	// guess is what packing a byte costs before it was measured, in seconds.
	guess = 3e-9
	// longestHold is for how many rounds packing is not tried again at most.
	longestHold = 64
	// proven is after how many good rounds earlier failures are forgotten.
	proven = 8
)

// A Chooser decides whether blocks are packed before they are sent, from what packing and sending were measured to cost. A block is worth packing if the
// time for it is less than the link takes for the bytes it saves; that a packed copy is really faster is checked as well, for where the recipient's disk
// is the slow part, packing changes nothing.
//
// All senders of one copy share a Chooser; its methods may be called concurrently. There is no clock in it. The zero Chooser sends plain blocks first.
type Chooser struct {
	mu      sync.Mutex
	packing bool

	sent   cost    // in this round
	packed cost    // recently; older rounds weigh less
	plain  float64 // seconds per byte in the last rounds without packing
	budget float64 // seconds that measuring may take
	hold   int     // rounds until packing may be tried again
	failed int     // how long the last hold was, 0 if packing has proved good since
	good   int     // rounds in a row in which it has
}

// A cost is what was spent on some bytes.
type cost struct {
	raw, wire float64 // bytes before and after packing
	seconds   float64
}

func (c *cost) add(raw, wire int, took time.Duration) {
	c.raw += float64(raw)
	c.wire += float64(wire)
	c.seconds += took.Seconds()
}

// perByte returns the seconds that packing takes for a byte.
func (c *cost) perByte() float64 {
	if c.raw == 0 {
		return guess
	}
	return c.seconds / c.raw
}

// Pack says whether a block of n bytes is to be packed: because it is worth it, or, now and then, to find out. Every block that was packed is told of by
// Packed, every block by Sent.
func (c *Chooser) Pack(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.packing {
		return true
	}
	price := c.packed.perByte() * float64(n)
	if c.budget < price || c.packed.raw >= plenty {
		return false
	}
	c.budget -= price
	return true
}

// Packed tells that a block of raw bytes was packed into that many, in that time. If it was not worth it and went as it was, packed is raw.
func (c *Chooser) Packed(raw, packed int, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.packed.add(raw, packed, took)
}

// Sent tells that a block of raw bytes was sent as wire bytes, and how long its sender was kept from doing anything else: waiting for other senders and for a
// limit on the rate counts.
func (c *Chooser) Sent(raw, wire int, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent.add(raw, wire, took)
	if !c.packing {
		c.budget += measuring * took.Seconds()
	}
	if c.sent.raw >= round || c.sent.raw >= lessRound && c.sent.seconds >= slowRound.Seconds() {
		c.decide()
		c.sent = cost{}
	}
}

// Packing says whether blocks are packed at present.
func (c *Chooser) Packing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.packing
}

// decide ends a round.
func (c *Chooser) decide() {
	link := c.sent.seconds / c.sent.wire // per byte on the link
	if !c.packing {
		if c.plain == 0 {
			c.plain = link
		}
		c.plain += (link - c.plain) / 2
	}
	if c.packed.raw < enough {
		return
	}
	ratio := c.packed.wire / c.packed.raw
	packed := c.packed.perByte() + ratio*link // per byte of the file
	switch {
	case !c.packing && c.hold > 0:
		c.hold--
	case !c.packing:
		if packed < start*link {
			c.packing, c.good, c.budget = true, 0, 0
		}
	case packed > keep*link, // the link is fast, or the data does not shrink
		// It is not faster than it was: something behind the link is slow, or all has become slow since. Plain rounds will tell.
		c.packed.perByte()+c.sent.seconds/c.sent.raw > keep*c.plain:
		c.packing = false
		c.failed = min(max(1, 2*c.failed), longestHold)
		c.hold = c.failed
	default:
		if c.good++; c.good == proven {
			c.failed = 0
		}
	}
	for _, v := range []*float64{&c.packed.raw, &c.packed.wire, &c.packed.seconds} {
		*v /= 2 // data differs from file to file
	}
}
