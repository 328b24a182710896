package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"ordinal/internal/progress"
)

const (
	columns  = 100 // the most that a line takes
	barWidth = 24
)

// console writes lines and, on a terminal, keeps a block below them that is drawn again and again. Its methods may be called
// concurrently.
type console struct {
	mu       sync.Mutex
	file     *os.File
	terminal bool
	began    time.Time
	drawn    int // lines of the block on the screen
}

func newConsole(f *os.File) *console {
	return &console{file: f, terminal: progress.IsTerminal(f), began: time.Now()}
}

// printf writes above the block.
func (c *console) printf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	fmt.Fprintf(c.file, format, args...)
}

// event writes what happened to a Pod, or "" for the set, with the time since the beginning.
func (c *console) event(pod, format string, args ...any) {
	head := fmt.Sprintf("%6.1f s  %-8s ", time.Since(c.began).Seconds(), pod)
	lines := wrap(fmt.Sprintf(format, args...), columns-len(head))
	c.printf("%s%s\n", head, strings.Join(lines, "\n"+strings.Repeat(" ", len(head))))
}

// wrap breaks a text between words into lines of at most width columns, where words allow.
func wrap(text string, width int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case len([]rune(*last))+1+len([]rune(word)) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

// block draws lines in the place of those drawn before. It does nothing where there is no terminal.
func (c *console) block(lines []string) {
	if !c.terminal {
		return
	}
	width := min(progress.Terminal(c.file)()-1, columns) // a full last column would make some terminals wrap
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	if c.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", c.drawn)
	}
	for _, line := range lines {
		b.WriteString(cut(line, width) + "\x1b[K\n")
	}
	if c.drawn > len(lines) {
		b.WriteString("\x1b[J")
	}
	c.drawn = len(lines)
	_, _ = c.file.WriteString(b.String()) // in one piece, so that it does not flicker
}

// erase removes the block from the screen.
func (c *console) erase() {
	if c.drawn > 0 {
		fmt.Fprintf(c.file, "\x1b[%dA\x1b[J", c.drawn)
		c.drawn = 0
	}
}

func cut(line string, width int) string {
	runes := []rune(line)
	if len(runes) <= width {
		return line
	}
	return string(runes[:max(width-1, 0)]) + "…"
}

// bar draws how much of total is done.
func bar(done, total int64) string {
	full := 0
	if total > 0 {
		full = int(min(done, total) * barWidth / total)
	}
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", barWidth-full) + "]"
}
