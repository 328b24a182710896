package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"ordinal/internal/testing/localset"
)

// What agents log of a clone.
const (
	saysCloning  = "cloning"                // the recipient begins
	saysCloned   = "cloned"                 // its copy is complete and durable
	saysFallback = "clone session fallback" // the donor's sidecar leaves to the server what it should have read itself
)

// cloneByAgent lets a recipient with an empty volume make itself, and proves that its server replicates afterwards. The volume is left
// as it is.
func (s *site) cloneByAgent(ctx context.Context, w way) (c copied, err error) {
	if err := s.use(ctx, w); err != nil {
		return c, err
	}
	pod := s.set.Pod(recipient)
	sidecar, err := s.sidecar()
	if err != nil {
		return c, err
	}
	server, err := mysqldOf(s.set.Pod(donor))
	if err != nil {
		return c, err
	}
	before, err := usages(sidecar, server)
	if err != nil {
		return c, err
	}
	log, sidecarLog := newLogReader(pod.LogFile(localset.Init)), newLogReader(s.set.Pod(donor).LogFile(localset.Agent))
	begun := time.Now()
	if err := s.set.Scale(ctx, recipient+1); err != nil {
		return c, err
	}
	init, err := watchToEnd(ctx, "init", "--volume="+pod.Volume)
	if err != nil {
		return c, err
	}
	after, err := usages(sidecar, server)
	if err != nil {
		return c, err
	}
	err = s.until(ctx, "the end of agent init", func() (bool, error) {
		c.Whole = s.initTook(pod, begun).Seconds()
		return c.Whole > 0, nil
	})
	if err != nil {
		return c, err
	}
	if err := log.cloned(&c); err != nil {
		return c, err
	}
	line, err := sidecarLog.entry(saysFallback)
	if err != nil {
		return c, err
	}
	c.Fallback = line != nil
	c.CPU = cpu{
		Donor:     (after[1].cpu - before[1].cpu).Seconds(),
		Sender:    (after[0].cpu - before[0].cpu).Seconds(),
		Recipient: init.cpu.Seconds(),
	}
	c.SidecarHWM, c.RecipientHWM = after[0].hwm, init.hwm
	if err := s.set.WaitReady(ctx, recipient); err != nil {
		return c, err
	}
	c.Ready = time.Since(begun).Seconds()
	// What follows must not compete with a server that recovers and replicates.
	return c, s.set.Scale(ctx, recipient)
}

// initTook is how long the agent init took that was started after begun and ended well; 0 if none has.
func (s *site) initTook(pod localset.Pod, begun time.Time) time.Duration {
	var from time.Time
	for _, e := range s.set.Events() {
		if e.Pod != pod.Name || e.Process != localset.Init || e.Time.Before(begun) {
			continue
		}
		switch {
		case e.Kind == localset.Started:
			from = e.Time
		case e.Kind == localset.Exited && e.Code == 0:
			return e.Time.Sub(from)
		}
	}
	return 0
}

func mysqldOf(pod localset.Pod) (pid int, err error) {
	return pidFromFile(filepath.Join(filepath.Dir(pod.Socket), "mysqld.pid"))
}

// logReader reads what a program's log gets from now on.
type logReader struct {
	path   string
	offset int64
}

func newLogReader(path string) logReader {
	info, err := os.Stat(path)
	if err != nil {
		return logReader{path: path} // not there yet
	}
	return logReader{path, info.Size()}
}

// entry returns the last line with a message, nil if there is none yet.
func (l logReader) entry(message string) ([]byte, error) {
	content, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return lastEntry(content[min(l.offset, int64(len(content))):], message), nil
}

// lastEntry returns the last line of a JSON log with a message, nil if there is none.
func lastEntry(log []byte, message string) []byte {
	var last []byte
	mark := fmt.Appendf(nil, `"msg":%q`, message)
	for line := range bytes.Lines(log) {
		if bytes.Contains(line, mark) {
			last = line
		}
	}
	return last
}

// cloned takes from the log what the recipient says of its clone.
func (l logReader) cloned(c *copied) error {
	line, err := l.entry(saysCloned)
	if err != nil {
		return err
	}
	if line == nil {
		return errors.New("the log of agent init does not say that it cloned")
	}
	return parseCloned(line, c)
}

func parseCloned(line []byte, c *copied) error {
	var entry struct {
		Took    string `json:"took"`
		Bytes   int64  `json:"bytes"`
		Resumes int    `json:"resumes"`
	}
	var took time.Duration
	err := json.Unmarshal(line, &entry)
	if err == nil {
		took, err = time.ParseDuration(entry.Took)
	}
	if err == nil && (took <= 0 || entry.Bytes <= 0) {
		err = errors.New("no time, or no bytes")
	}
	if err != nil {
		return fmt.Errorf("read what agent init logs of its clone: %w", err)
	}
	c.Copy, c.Received, c.Resumes = took.Seconds(), entry.Bytes, entry.Resumes
	return nil
}
