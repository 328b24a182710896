package pack

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A world is what a copy of 1 MiB blocks meets. Rates are bytes per second.
type world struct {
	link    float64
	disk    float64 // of the recipient; 0: no matter
	packing float64 // by one sender
	ratio   float64 // packed to raw
	senders float64
}

// A passage is what a copy through a world took.
type passage struct {
	seconds float64 // of all senders together
	raw     float64
	packed  float64 // raw bytes that were packed
	samples float64 // seconds of packing while it was not chosen
	changes int
}

// copy sends mib blocks, deciding by c; nil: packed says.
func (w world) copy(c *Chooser, packed bool, mib int, random *rand.Rand) passage {
	var p passage
	about := func(seconds float64) time.Duration {
		return time.Duration(seconds * (0.7 + 0.6*random.Float64()) * float64(time.Second))
	}
	for range mib {
		const n = 1 << 20
		wire, pack := n, packed
		was := c != nil && c.Packing()
		if c != nil {
			pack = c.Pack(n)
		}
		if pack {
			took := about(n / w.packing)
			p.seconds += took.Seconds()
			p.packed += n
			if size := int(n * w.ratio * (0.8 + 0.4*random.Float64())); size < n-n/worth {
				wire = size
			}
			if c != nil {
				c.Packed(n, wire, took)
				if !was {
					p.samples += took.Seconds()
				}
			}
		}
		busy := float64(wire) / w.link * w.senders
		if w.disk > 0 {
			busy = max(busy, n/w.disk*w.senders-n/w.packing*float64(b2i(pack)))
		}
		took := about(busy)
		p.seconds += took.Seconds()
		p.raw += n
		if c != nil {
			c.Sent(n, wire, took)
			if c.Packing() != was {
				p.changes++
			}
		}
	}
	return p
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestChooser(t *testing.T) {
	tests := []struct {
		name  string
		world world
		packs bool
	}{
		{"1 GB/s", world{link: 1e9, packing: 500e6, ratio: 0.5, senders: 1}, false},
		{"5 GB/s, three senders", world{link: 5e9, packing: 300e6, ratio: 0.3, senders: 3}, false},
		{"100 MB/s", world{link: 100e6, packing: 500e6, ratio: 0.5, senders: 1}, true},
		{"100 MB/s, four senders", world{link: 100e6, packing: 300e6, ratio: 0.5, senders: 4}, true},
		{"1 MB/s", world{link: 1e6, packing: 300e6, ratio: 0.7, senders: 2}, true},
		{"100 MB/s, data that does not shrink", world{link: 100e6, packing: 500e6, ratio: 1.05, senders: 1}, false},
		{"100 MB/s, data that hardly shrinks", world{link: 100e6, packing: 500e6, ratio: 0.9, senders: 1}, false},
		{"fast link to a slow disk", world{link: 1e9, disk: 60e6, packing: 400e6, ratio: 0.4, senders: 2}, false},
		{"1 GB/s, slow packing of zeros", world{link: 1e9, packing: 3e9, ratio: 0.01, senders: 1}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for seed := range uint64(4) {
				random := rand.New(rand.NewPCG(seed, 0))
				const mib = 8 << 10
				plain, packed := test.world.copy(nil, false, mib, random), test.world.copy(nil, true, mib, random)
				c := new(Chooser)
				got := test.world.copy(c, false, mib, random)
				if best := min(plain.seconds, packed.seconds); got.seconds > 1.02*best+0.5 { // it takes a moment to find out
					t.Errorf("seed %d: took %.1f s; plain %.1f, packed %.1f", seed, got.seconds, plain.seconds, packed.seconds)
				}
				if share := got.packed / got.raw; test.packs && share < 0.95 || !test.packs && share > 0.1 {
					t.Errorf("seed %d: %.3f of the data was packed, want packing: %t", seed, share, test.packs)
				}
				if got.samples > measuring*1.5*got.seconds {
					t.Errorf("seed %d: %.3f s of %.1f went into measuring", seed, got.samples, got.seconds)
				}
			}
		})
	}
}

// At the border between the two it may be either, but it does not change all the time.
func TestChooserHysteresis(t *testing.T) {
	for link := 80e6; link < 700e6; link *= 1.2 {
		t.Run(fmt.Sprintf("%.0f", link), func(t *testing.T) {
			w := world{link: link, packing: 500e6, ratio: 0.5, senders: 1}
			for seed := range uint64(2) {
				if got := w.copy(new(Chooser), false, 32<<10, rand.New(rand.NewPCG(seed, 2))); got.changes > 32<<10/32/16 {
					t.Errorf("seed %d: %d changes in %d rounds", seed, got.changes, 32<<10/32)
				}
			}
		})
	}
}

// A link that changes is followed within a few rounds, in both directions, as often as it does.
func TestChooserFollows(t *testing.T) {
	c, random := new(Chooser), rand.New(rand.NewPCG(1, 3))
	fast := world{link: 2e9, packing: 400e6, ratio: 0.4, senders: 2}
	slow := fast
	slow.link = 80e6
	slower := fast
	slower.link = 20e6
	for range 3 {
		for _, step := range []struct {
			world world
			want  bool
		}{{fast, false}, {slow, true}, {slower, true}, {slow, true}, {fast, false}} {
			step.world.copy(c, false, 20*32, random)
			if got := step.world.copy(c, false, 100*32, random); (got.packed/got.raw > 0.9) != step.want {
				t.Errorf("link of %.0f: %.3f packed, want packing: %t", step.world.link, got.packed/got.raw, step.want)
			}
		}
	}
}
