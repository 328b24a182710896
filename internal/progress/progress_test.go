package progress

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const mb = 1_000_000

func TestRateAndETA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Progress
		p.Add(5) // not started
		if s := p.State(); s.Done != 0 || s.ETA != -1 || !s.Since.IsZero() || s.Rate != 0 {
			t.Fatalf("before Start: %+v", s)
		}
		p.Start(1000 * mb)
		p.SetStage("FILE_COPY")
		check := func(what string, wantRate float64, wantETA time.Duration) {
			t.Helper()
			s := p.State()
			if s.Rate < wantRate*0.9 || s.Rate > wantRate*1.1 {
				t.Errorf("%s: rate = %.0f, want about %.0f", what, s.Rate, wantRate)
			}
			if d := s.ETA - wantETA; d < -2*time.Second || d > 2*time.Second {
				t.Errorf("%s: ETA = %v, want about %v", what, s.ETA, wantETA)
			}
		}
		check("at once", 0, -1)
		run := func(d time.Duration, bytesPerSecond int64) {
			for range d / (100 * time.Millisecond) {
				time.Sleep(100 * time.Millisecond)
				p.Add(bytesPerSecond / 10)
			}
		}
		run(500*time.Millisecond, 10*mb)
		check("after half a second", 10*mb, 100*time.Second)
		run(20*time.Second, 10*mb)
		check("steady", 10*mb, 80*time.Second)
		run(11*time.Second, 40*mb) // the old rate is forgotten after the window
		check("faster", 40*mb, 9*time.Second)
		time.Sleep(5 * time.Second)
		check("stalled for 5 s", 23*mb, 15*time.Second)
		time.Sleep(15 * time.Second)
		check("stalled", 0, -1)
		p.SetTotal(0)
		run(12*time.Second, mb)
		check("total not known", mb, -1)
		p.SetTotal(5)
		check("more than the estimate", mb, 0)
		if s := p.State(); s.Percent() != 100 || s.Done != 657*mb || s.Stage != "FILE_COPY" || s.Elapsed != 63500*time.Millisecond {
			t.Errorf("%+v, %d%%", s, s.Percent())
		}
		p.Start(10)
		if s := p.State(); s.Done != 0 || s.Rate != 0 || s.Elapsed != 0 {
			t.Errorf("started again: %+v", s)
		}
		if len(p.samples) > 12 {
			t.Errorf("%d samples are kept", len(p.samples))
		}
	})
}

// What was done before counts as done, not as fast.
func TestSkip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Progress
		p.Skip(5) // not started
		p.Start(1000 * mb)
		p.Skip(500 * mb)
		if s := p.State(); s.Done != 500*mb || s.Rate != 0 || s.ETA != -1 {
			t.Errorf("after Skip: %+v", s)
		}
		for range 50 {
			time.Sleep(100 * time.Millisecond)
			p.Add(mb)
		}
		p.Skip(350 * mb)
		if s := p.State(); s.Done != 900*mb || s.Rate < 9.9*mb || s.Rate > 10.1*mb || s.ETA != 10*time.Second {
			t.Errorf("after Add and Skip: %+v", s)
		}
	})
}

func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Progress
		ctx, cancel := context.WithCancel(t.Context())
		var got []State
		var at []time.Duration
		begin := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			p.Lines(ctx, func(s State) { got = append(got, s); at = append(at, time.Since(begin)) })
		})
		time.Sleep(7 * time.Second) // nothing is said before Start
		p.Start(100)
		p.Add(50)
		time.Sleep(10 * time.Second)
		p.Add(50)
		cancel()
		wg.Wait()
		if len(at) != 3 || at[0] != 10*time.Second || at[1] != 15*time.Second || at[2] != 17*time.Second {
			t.Errorf("lines at %v, want at 10, 15 and 17 s", at)
		}
		if last := got[len(got)-1]; last.Done != 100 || last.ETA != 0 {
			t.Errorf("last line %+v", last)
		}
	})
}

func TestBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Progress
		var b bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { p.Bar(ctx, &b, func() int { return 80 }) })
		p.Start(200 * mb)
		p.SetStage("FILE_COPY")
		time.Sleep(time.Second + time.Millisecond)
		p.Add(100 * mb)
		time.Sleep(200 * time.Millisecond)
		cancel()
		wg.Wait()
		redraws := strings.Split(b.String(), "\r")[1:]
		if len(redraws) != 7 {
			t.Errorf("%d redraws in 1.2 s, want 6 and the last", len(redraws))
		}
		want := "FILE_COPY [=============              ]  50%  100 MB / 200 MB  83 MB/s  1s left\x1b[K\n"
		if got := redraws[len(redraws)-1]; got != want {
			t.Errorf("last redraw\n%q, want\n%q", got, want)
		}
	})
}

func TestBarFits(t *testing.T) {
	states := []State{
		{ETA: -1},
		{Stage: "PAGE_COPY", Done: 123456789, ETA: -1},
		{Stage: "REDO_COPY über", Done: 12, Total: 1e18, Rate: 1e9, ETA: 999 * time.Hour},
		{Stage: strings.Repeat("x", 200), Done: 2, Total: 1},
	}
	for _, s := range states {
		for width := range 200 {
			line := s.bar(width)
			if n := len([]rune(line)); n >= max(width, 1) {
				t.Errorf("%d columns of %d: %q", n, width, line)
			}
			if strings.ContainsAny(line, "\r\n") {
				t.Errorf("%q is not one line", line)
			}
		}
	}
}

// Without a terminal nothing is written to the file: the caller's log may go there.
func TestShowWithoutTerminal(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var p Progress
	p.Start(1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	lines := 0
	p.Show(ctx, f, func(State) { lines++ })
	if st, err := f.Stat(); err != nil || st.Size() != 0 || lines == 0 {
		t.Errorf("%d bytes written, %d lines, %v", st.Size(), lines, err)
	}
	if Terminal(f)() != 80 {
		t.Error("the width of what is no terminal is not 80")
	}
}

func TestConcurrentAdd(t *testing.T) {
	var p Progress
	p.Start(0)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				p.Add(1)
				p.State()
			}
		})
	}
	wg.Wait()
	if got := p.State().Done; got != 4000 {
		t.Errorf("Done = %d, want 4000", got)
	}
}

func TestString(t *testing.T) {
	for want, s := range map[string]State{
		"FILE_COPY: 1.2 GB of 2.9 GB (41%), 310 MB/s, 6s left": {Stage: "FILE_COPY", Done: 1200 * mb, Total: 2900 * mb, Rate: 310 * mb, ETA: 6 * time.Second},
		"0 B, 0 B/s": {ETA: -1},
	} {
		if got := s.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 9951: "10 kB", 999499: "999 kB", 999500: "1.0 MB", 1 << 62: "4.6 EB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}
