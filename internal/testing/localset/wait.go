package localset

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"ordinal/internal/testing/load"
)

const pollInterval = 50 * time.Millisecond

// poll calls try until it returns nil. When ctx ends first, the error says what was missing last.
func poll(ctx context.Context, what string, try func() error) error {
	var last error
	for {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // an attempt that was cut off says nothing new
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w; last: %w", what, context.Cause(ctx), last)
		case <-time.After(pollInterval):
		}
	}
}

// WaitReady waits until the Pods with the given ordinals are ready, or all of the set if none is given.
func (s *Set) WaitReady(ctx context.Context, ordinals ...int) error {
	if len(ordinals) == 0 {
		ordinals = s.ordinals()
	}
	for _, ordinal := range ordinals {
		err := poll(ctx, "wait until "+s.Pod(ordinal).Name+" is ready", func() error {
			if s.Ready(ctx, ordinal) {
				return nil
			}
			st, err := s.Status(ctx, ordinal)
			if err == nil {
				err = fmt.Errorf("%s: %s", st.Pod, st.Explain())
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// WaitConverged waits until every replica's gtid_executed equals the source's. Stop the load first.
func (s *Set) WaitConverged(ctx context.Context) error {
	return poll(ctx, "wait for equal gtid_executed", func() error {
		for ordinal := 1; ordinal < s.Replicas(); ordinal++ {
			replica, err := s.GTIDExecuted(ctx, ordinal)
			if err != nil {
				return err
			}
			source, err := s.GTIDExecuted(ctx, 0) // read last: a replica holds nothing that the source does not hold by then
			if err != nil {
				return err
			}
			if !replica.Equal(source) {
				return fmt.Errorf("%s lacks %q and has %q that the source does not have",
					s.Pod(ordinal).Name, source.Subtract(replica), replica.Subtract(source))
			}
		}
		return nil
	})
}

// CompareTables compares CHECKSUM TABLE of all user tables of all Pods, and returns what differs, by name, as an error. It returns the
// number of tables. Stop the load and WaitConverged first.
func (s *Set) CompareTables(ctx context.Context) (tables int, err error) {
	var want map[string]string
	for _, ordinal := range s.ordinals() {
		db, err := s.DB(ordinal)
		if err != nil {
			return 0, err
		}
		got, err := load.Checksums(ctx, db)
		if err != nil {
			return 0, s.onPod(ordinal, err)
		}
		if ordinal == 0 {
			want = got
			continue
		}
		if !maps.Equal(got, want) {
			return 0, fmt.Errorf("%s differs from the source: %s", s.Pod(ordinal).Name, difference(got, want))
		}
	}
	return len(want), nil
}

func difference(got, want map[string]string) string {
	var lines []string
	for table, sum := range want {
		if got[table] != sum {
			lines = append(lines, fmt.Sprintf("%s checksum %q, want %q", table, got[table], sum))
		}
	}
	for table := range got {
		if _, ok := want[table]; !ok {
			lines = append(lines, table+" is not on the source")
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

func (s *Set) ordinals() []int {
	ordinals := make([]int, 0, 8)
	for ordinal := range s.Replicas() {
		ordinals = append(ordinals, ordinal)
	}
	return ordinals
}

// LogTail returns the end of the log of one of a Pod's programs, at most the given number of lines.
func (s *Set) LogTail(ordinal int, process Process, lines int) string {
	content, err := os.ReadFile(s.Pod(ordinal).LogFile(process))
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// LogTails returns the ends of all logs of all Pods and the latest events: what to look at when something went wrong.
func (s *Set) LogTails(lines int) string {
	var b strings.Builder
	for _, ordinal := range s.ordinals() {
		for _, process := range []Process{Init, Agent, Mysqld} {
			if tail := s.LogTail(ordinal, process, lines); tail != "" {
				fmt.Fprintf(&b, "--- %s %s\n%s\n", s.Pod(ordinal).Name, process, tail)
			}
		}
	}
	b.WriteString("--- events\n")
	events := s.Events()
	for _, e := range events[max(0, len(events)-2*lines):] {
		fmt.Fprintln(&b, e)
	}
	return b.String()
}
