package progress

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

const (
	barEvery  = 200 * time.Millisecond
	lineEvery = 5 * time.Second
)

// IsTerminal reports whether a bar can be drawn on f.
func IsTerminal(f *os.File) bool {
	return term.IsTerminal(int(f.Fd()))
}

// Terminal returns the function that tells the width of f in columns, for [Progress.Bar].
func Terminal(f *os.File) (width func() int) {
	return func() int {
		w, _, err := term.GetSize(int(f.Fd()))
		if err != nil || w <= 0 {
			return 80
		}
		return w
	}
}

// Show draws a bar on f if that is a terminal, else it calls line every 5 seconds. It returns when ctx ends, after a last
// update; line is never called after that. Nothing is shown before Start. Use a ctx of its own that ends with the operation:
// it may be cancelled and waited for before anything else is written to f.
func (p *Progress) Show(ctx context.Context, f *os.File, line func(State)) {
	if IsTerminal(f) {
		p.Bar(ctx, f, Terminal(f))
	} else {
		p.Lines(ctx, line)
	}
}

// Lines calls line every 5 seconds and once more when ctx ends; then it returns.
func (p *Progress) Lines(ctx context.Context, line func(State)) {
	p.every(ctx, lineEvery, func(s State, _ bool) { line(s) })
}

// Bar redraws a bar on w until ctx ends, then it ends the line and returns. width is asked for the number of columns before every
// redraw. Errors of w are ignored: a lost terminal must not stop the operation.
func (p *Progress) Bar(ctx context.Context, w io.Writer, width func() int) {
	p.every(ctx, barEvery, func(s State, last bool) {
		end := ""
		if last {
			end = "\n"
		}
		// One write, so that a redraw does not flicker. The escape sequence erases what an earlier, longer line left.
		io.WriteString(w, "\r"+s.bar(width())+"\x1b[K"+end)
	})
}

func (p *Progress) every(ctx context.Context, interval time.Duration, show func(s State, last bool)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		last := false
		select {
		case <-tick.C:
		case <-ctx.Done():
			last = true
		}
		if s := p.State(); !s.Since.IsZero() {
			show(s, last)
		}
		if last {
			return
		}
	}
}

// bar returns a line of less than width columns: a full last column would make some terminals wrap.
func (s State) bar(width int) string {
	const least, most = 10, 40 // columns between the brackets
	left, right := s.Stage, fmt.Sprintf("%s  %s/s", Bytes(s.Done), Bytes(int64(s.Rate)))
	if left != "" {
		left += " "
	}
	if s.Total > 0 {
		right = fmt.Sprintf("%3d%%  %s / %s  %s/s", s.Percent(), Bytes(s.Done), Bytes(s.Total), Bytes(int64(s.Rate)))
	}
	if s.ETA >= 0 {
		right += "  " + s.ETA.String() + " left"
	}
	room := width - 1 - len([]rune(left)) - len(right) - len("[] ")
	if s.Total > 0 && room >= least {
		room = min(room, most)
		full := room * s.Percent() / 100
		left += "[" + strings.Repeat("=", full) + strings.Repeat(" ", room-full) + "] "
	}
	line := []rune(left + right)
	return string(line[:min(len(line), max(width-1, 0))])
}
