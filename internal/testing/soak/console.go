package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// console writes lines with the time since the faults began. It may be used concurrently.
type console struct {
	mu    sync.Mutex
	w     io.Writer
	began time.Time
}

func newConsole(w io.Writer) *console { return &console{w: w, began: time.Now()} }

// begin starts the clock.
func (c *console) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began = time.Now()
}

// line writes what somebody has to say.
func (c *console) line(who, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.w, "%7.1f s  %-7s %s\n", time.Since(c.began).Seconds(), who, fmt.Sprintf(format, args...))
}

// print writes text as it is.
func (c *console) print(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = io.WriteString(c.w, text)
}
