package pace

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// A disk is the simplest queue: what it is asked for beyond what it can do waits, and the closer it comes to its limit the longer.
type disk struct {
	capacity float64 // bytes per second
	own      float64 // what the donor's own work asks for
	base     time.Duration
	backlog  float64 // bytes
	random   *rand.Rand
	noise    float64 // standard deviation of the latency's logarithm
}

// tick lets dt pass with a copy that wants so much, and returns what is measured.
func (d *disk) tick(dt, wants float64) (latency time.Duration, rate float64) {
	asked := d.own + wants
	d.backlog = max(0, d.backlog+(asked-d.capacity)*dt)
	d.backlog = min(d.backlog, d.capacity*2) // a copy that waits asks for nothing new
	busy := min(asked/d.capacity, 0.98)
	seconds := d.base.Seconds()/(1-busy) + d.backlog/d.capacity
	seconds *= math.Exp(d.noise * d.random.NormFloat64())
	return time.Duration(seconds * float64(time.Second)), min(wants, max(d.capacity-d.own, 0.1*d.capacity))
}

// possible is the copy's rate at which the latency is the limit.
func (d *disk) possible(limit time.Duration) float64 {
	return d.capacity*(1-d.base.Seconds()/limit.Seconds()) - d.own
}

const (
	dt    = 0.25 // seconds between two observations
	limit = 10 * time.Millisecond
)

// outcome is what a Shedder makes of a disk over some time.
type outcome struct {
	copied        float64 // bytes per second
	above         float64 // part of the time
	worst, lowest float64 // seconds; bytes per second
}

// run lets a copy that could do so many bytes per second go on for some time.
func (d *disk) run(s *Shedder, could, seconds float64) outcome {
	o := outcome{lowest: math.Inf(1)}
	rounds := seconds / dt
	for range int(rounds) {
		wants := could
		if a := s.Allowed(); a > 0 {
			wants = min(wants, float64(a))
		}
		latency, rate := d.tick(dt, wants)
		s.Observe(latency, rate)
		o.copied += rate / rounds
		if latency > limit {
			o.above += 1 / rounds
		}
		o.worst = max(o.worst, latency.Seconds())
		o.lowest = min(o.lowest, rate)
	}
	return o
}

// A copy that could take everything is kept to most of what leaves the latency below the limit, and comes above it only for moments.
func TestShedderSettles(t *testing.T) {
	for _, test := range []struct {
		capacity, own, could float64
		base                 time.Duration
		noise                float64
		most                 uint64
	}{
		{200e6, 40e6, 2e9, time.Millisecond, 0, 0},
		{200e6, 40e6, 2e9, time.Millisecond, 0.15, 0},
		{200e6, 100e6, 2e9, 2 * time.Millisecond, 0.15, 0},
		{3e9, 300e6, 2.9e9, time.Millisecond, 0.15, 0},
		{3e9, 300e6, 10e9, 2 * time.Millisecond, 0.3, 0},
		{200e6, 40e6, 2e9, time.Millisecond, 0.15, 500e6},
		{50e6, 10e6, 500e6, 3 * time.Millisecond, 0.15, 0},
	} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			for seed := range uint64(20) {
				d := &disk{capacity: test.capacity, own: test.own, base: test.base, noise: test.noise, random: rand.New(rand.NewPCG(seed, 1))}
				s := NewShedder(limit, test.most)
				d.run(s, test.could, 25)
				o, possible := d.run(s, test.could, 250), d.possible(limit)
				if o.copied < 0.7*possible || o.above > 0.1 || o.lowest < possible/8 || o.worst > 6*limit.Seconds() {
					t.Errorf("seed %d: %+v; possible were %.0f", seed, o, possible)
				}
			}
		})
	}
}

// The donor's own work alone brings the latency above the limit, for a while: the copy goes on at the floor, and gets everything back afterwards.
func TestShedderSpike(t *testing.T) {
	d := &disk{capacity: 500e6, own: 50e6, base: time.Millisecond, noise: 0.1, random: rand.New(rand.NewPCG(1, 1))}
	s := NewShedder(limit, 0)
	if o := d.run(s, 300e6, 60); o.above > 0 || s.Shedding() || s.Allowed() != 0 {
		t.Fatalf("a copy that disturbs nobody is limited to %d: %+v", s.Allowed(), o)
	}
	d.own = 490e6
	d.run(s, 300e6, 5)
	if o := d.run(s, 300e6, 20); o.copied > 1.01*floor || o.lowest < floor {
		t.Errorf("with the latency above the limit all the time: %+v, want the floor, %v", o, floor)
	}
	d.own = 50e6
	d.run(s, 300e6, 30)
	if o := d.run(s, 300e6, 10); o.copied < 0.99*300e6 || o.above > 0 {
		t.Errorf("half a minute after the spike: %+v, want everything that it could do", o)
	}
	if s.Shedding() || s.Allowed() != 0 {
		t.Errorf("Allowed() = %d, want no limit any more", s.Allowed())
	}
}

// With a bound the Shedder never allows more, and lifts its own limit at that.
func TestShedderMost(t *testing.T) {
	s := NewShedder(limit, 100e6)
	if got := s.Observe(time.Millisecond, 100e6); got != 100e6 || s.Shedding() {
		t.Errorf("Observe() = %d, want the bound", got)
	}
	if got := s.Observe(time.Second, 100e6); got != 50e6 || !s.Shedding() {
		t.Errorf("Observe() of a latency above the limit = %d, want half of what was measured", got)
	}
	for range 100 {
		if got := s.Observe(time.Millisecond, float64(s.Allowed())); got > 100e6 {
			t.Fatalf("Observe() = %d, more than the bound", got)
		}
	}
	if got := s.Allowed(); got != 100e6 || s.Shedding() {
		t.Errorf("Allowed() = %d, %t in the end, want the bound", got, s.Shedding())
	}
}

// A copy that rests, because the recipient works, keeps its limit: what it had to give up before would disturb again.
func TestShedderRest(t *testing.T) {
	s := NewShedder(limit, 0)
	s.Observe(time.Second, 200e6)
	for range 1000 {
		s.Observe(0, 0)
	}
	if got := s.Allowed(); got < 100e6 || got > near*200e6 {
		t.Errorf("Allowed() after a rest = %d, want about what it was", got)
	}
}

// A server is a LatencySource on a disk that a Limiter's bytes go to.
type server struct {
	*disk
	l      *Limiter
	passed uint64
	at     time.Time
	answer func(latency time.Duration) (time.Duration, bool, error)
}

func (s *server) CommitLatency(context.Context) (time.Duration, bool, error) {
	seconds, passed := time.Since(s.at).Seconds(), s.l.Passed()
	latency, _ := s.tick(seconds, float64(passed-s.passed)/seconds)
	s.at, s.passed = time.Now(), passed
	return s.answer(latency)
}

// serve runs a Shedder beside a copy of 1 MiB blocks that could do 1 GB/s, for a minute.
func serve(t *testing.T, answer func(time.Duration) (time.Duration, bool, error)) (l *Limiter, err error) {
	l = NewLimiter(0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d := &disk{capacity: 200e6, own: 40e6, base: time.Millisecond, noise: 0.1, random: rand.New(rand.NewPCG(1, 1))}
	ended := make(chan error, 1)
	go func() {
		ended <- NewShedder(limit, 0).Run(ctx, l, &server{disk: d, l: l, at: time.Now(), answer: answer})
	}()
	for ctx.Err() == nil {
		time.Sleep(time.Millisecond) // simulates a disk of 1 GB/s
		_ = l.Wait(ctx, 1<<20)       // the end of ctx ends the loop
	}
	return l, <-ended
}

func TestShedderRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var above, samples int
		l, err := serve(t, func(latency time.Duration) (time.Duration, bool, error) {
			samples++
			if latency > limit {
				above++
			}
			if samples%10 == 0 {
				return 0, false, errors.New("away for a moment")
			}
			return latency, true, nil
		})
		rate := float64(l.Passed()) / 60
		if err != nil || rate < 0.6*140e6 || rate > 160e6 || above > samples/8 {
			t.Errorf("Run() = %v; %.0f bytes/s, %d of %d samples above the limit", err, rate, above, samples)
		}
	})
}

func TestShedderRunQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := serve(t, func(time.Duration) (time.Duration, bool, error) { return 0, false, nil })
		if err != nil || l.Rate() != 0 {
			t.Errorf("Run() = %v with a rate of %d; want no limit on a donor that nobody uses", err, l.Rate())
		}
		// Commits that hang for less than two seconds are no reason to grow.
		n := 0
		l, err = serve(t, func(time.Duration) (time.Duration, bool, error) {
			n++
			return time.Second, n%quietAfter == 1, nil
		})
		if err != nil || l.Rate() != floor {
			t.Errorf("Run() = %v with a rate of %d; want the floor where commits take a second", err, l.Rate())
		}
	})
}

func TestShedderRunBlind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("the server is away")
		if _, err := serve(t, func(time.Duration) (time.Duration, bool, error) { return 0, false, away }); !errors.Is(err, away) {
			t.Errorf("Run() = %v, want %v", err, away)
		}
	})
}
