package pace

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pass lets blocks pass, one after the other, until limit bytes have.
func pass(t *testing.T, l *Limiter, block int, limit uint64) {
	t.Helper()
	for l.Passed() < limit {
		if err := l.Wait(t.Context(), block); err != nil {
			t.Error(err)
			return
		}
	}
}

func TestLimiterKeepsRate(t *testing.T) {
	for _, rate := range []uint64{1e6, 7_777_777, 100e6, 1e9, 10e9} {
		for _, block := range []int{16 << 10, 100_003, 1 << 20, 4 << 20} {
			for _, callers := range []int{1, 5} {
				t.Run(fmt.Sprintf("%d/%d/%d", rate, block, callers), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						l := NewLimiter(rate)
						from := uint64(0.05*float64(rate)) + uint64(block)
						pass(t, l, block, from) // the credit that it begins with
						begin, from := time.Now(), l.Passed()
						seconds := 10.0
						if rate > 100e6 {
							seconds = 0.3 // virtual time is not free
						}
						total := from + max(uint64(seconds*float64(rate)), 100*uint64(block))
						var g sync.WaitGroup
						for range callers {
							g.Go(func() { pass(t, l, block, total) })
						}
						g.Wait()
						took := time.Since(begin).Seconds()
						got, want := float64(l.Passed()-from), took*float64(rate)
						if slack := ahead.Seconds()*float64(rate) + float64(2*block); math.Abs(got-want) > 0.001*want+slack {
							t.Errorf("%.0f bytes passed in %.3f s, want %.0f", got, took, want)
						}
					})
				})
			}
		}
	}
}

// Whoever comes late may make up for it, but not for everything.
func TestLimiterBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, block = 100e6, 64 << 10
		l := NewLimiter(rate)
		time.Sleep(time.Hour)
		begin := time.Now()
		for time.Since(begin) == 0 {
			if err := l.Wait(t.Context(), block); err != nil {
				t.Fatal(err)
			}
		}
		if got := float64(l.Passed()); got > 0.05*rate+block {
			t.Errorf("%.0f bytes passed at once, want at most 50 ms worth, %.0f", got, 0.05*rate)
		}
		// A sender that does something else in between gets the whole rate nevertheless.
		begin, before := time.Now(), l.Passed()
		for time.Since(begin) < 10*time.Second {
			time.Sleep(10 * time.Millisecond)
			for range 20 {
				if err := l.Wait(t.Context(), block); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got, want := float64(l.Passed()-before), rate*time.Since(begin).Seconds(); math.Abs(got/want-1) > 0.01 {
			t.Errorf("%.0f bytes passed with pauses, want %.0f", got, want)
		}
	})
}

// The first block goes at once, whatever its size: a rate must not become a delay before the first byte.
func TestLimiterFirstBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(1)
		begin := time.Now()
		if err := l.Wait(t.Context(), 4<<20); err != nil || time.Since(begin) != 0 {
			t.Errorf("the first block waited %v, %v", time.Since(begin), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 1000*time.Hour)
		defer cancel()
		if err := l.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 1000*time.Hour {
			t.Errorf("Wait() after 4 MiB at 1 byte/s = %v after %v", err, time.Since(begin))
		}
	})
}

func TestLimiterIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(50e6)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var g sync.WaitGroup
		var blocks [7]int
		for i := range blocks {
			g.Go(func() {
				for l.Wait(ctx, 256<<10) == nil {
					blocks[i]++
				}
			})
		}
		g.Wait()
		for _, n := range blocks {
			if n < 530 || n > 560 { // the first one may take all the credit there is, 8 blocks
				t.Fatalf("callers got %v blocks, want about 545 each", blocks)
			}
		}
	})
}

// What waits when the rate changes waits on at the new one.
func TestLimiterSetRate(t *testing.T) {
	const block = 1 << 20
	for _, test := range []struct {
		from, to uint64
		want     time.Duration // until a block passes that would have had to wait for 1 MiB at from, when the rate changes after 100 ms
	}{
		{1 << 20, 0, 100 * time.Millisecond},
		{1 << 20, 9 << 20, 200 * time.Millisecond},
		{1 << 20, 1 << 19, 1900 * time.Millisecond},
		{1 << 20, 1 << 20, time.Second},
		{0, 1 << 20, 0},
	} {
		t.Run(fmt.Sprintf("%d to %d", test.from, test.to), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := NewLimiter(test.from)
				if err := l.Wait(t.Context(), block); err != nil {
					t.Fatal(err)
				}
				if test.from > 0 { // use up the credit that a Limiter has at first
					if err := l.Wait(t.Context(), int(credit.Seconds()*float64(test.from))); err != nil {
						t.Fatal(err)
					}
					l.free = time.Now().Add(time.Second)
				}
				begin := time.Now()
				time.AfterFunc(100*time.Millisecond, func() { l.SetRate(test.to) })
				if err := l.Wait(t.Context(), block); err != nil {
					t.Fatal(err)
				}
				if got := time.Since(begin); (got - test.want).Abs() > 2*ahead {
					t.Errorf("the block waited %v, want %v", got, test.want)
				}
				time.Sleep(time.Second)
				if got := l.Rate(); got != test.to {
					t.Errorf("Rate() = %d, want %d", got, test.to)
				}
			})
		})
	}
}

// A caller that gives up has taken nothing, and does not hold up those behind it.
func TestLimiterCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(1e6)
		pass(t, l, 1e6, 1)
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		var g sync.WaitGroup
		for range 3 {
			g.Go(func() {
				if err := l.Wait(ctx, 50e6); err != cause {
					t.Errorf("Wait() = %v, want the cause", err)
				}
			})
		}
		synctest.Wait()
		begin := time.Now()
		g.Go(func() { pass(t, l, 1e6, 2e6) })
		synctest.Wait()
		cancel(cause)
		g.Wait()
		if got := time.Since(begin); got > time.Second {
			t.Errorf("the last one waited %v, want at most what the first block costs", got)
		}
		if got := l.Passed(); got != 2e6 {
			t.Errorf("Passed() = %d, want 2 MB", got)
		}
		if err := l.Wait(ctx, 1); err != cause {
			t.Errorf("Wait() of an ended context = %v, want the cause", err)
		}
	})
}

func BenchmarkLimiter(b *testing.B) {
	for _, rate := range []uint64{0, 1 << 60} {
		b.Run(fmt.Sprint(rate), func(b *testing.B) {
			l := NewLimiter(rate)
			for b.Loop() {
				if err := l.Wait(b.Context(), 16<<10); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
