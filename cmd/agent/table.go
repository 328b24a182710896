package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ordinal/agent"
)

var statusColumns = []string{"POD", "ROLE", "STATE", "READY", "GTID", "LAG", "CLONE", "REASONS"}

const readyColumn = 3

// printTable writes one row per pod and, below, what each has to say in words.
func printTable(w io.Writer, set setStatus, color bool) error {
	rows := [][]string{statusColumns}
	var notes []string
	for _, p := range set.Pods {
		rows = append(rows, row(p))
		for _, message := range messages(p) {
			notes = append(notes, p.Pod+": "+message)
		}
	}
	if set.Note != "" {
		notes = append(notes, "note: "+clean(set.Note, 400))
	}
	if !color {
		return printRows(w, rows, notes, nil)
	}
	return printRows(w, rows, notes, func(row, column int, cell string) string {
		if column != readyColumn || row == 0 {
			return cell
		}
		return paint(cell, strings.TrimSpace(cell) == "yes")
	})
}

// printRows writes rows of the same length in columns, the first of them the columns' names, and notes below. look, if not nil, changes how a cell looks, not how wide it is. All
// of it is written at once.
func printRows(w io.Writer, rows [][]string, notes []string, look func(row, column int, cell string) string) error {
	var width []int
	if len(rows) > 0 {
		width = make([]int, len(rows[0]))
	}
	for _, r := range rows {
		for i, cell := range r {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var out bytes.Buffer
	for n, r := range rows {
		var line strings.Builder
		for i, cell := range r {
			cell += strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if look != nil {
				cell = look(n, i, cell)
			}
			line.WriteString(cell + "  ")
		}
		fmt.Fprintln(&out, strings.TrimRight(line.String(), " "))
	}
	for _, note := range notes {
		fmt.Fprintln(&out, note)
	}
	_, err := w.Write(out.Bytes())
	return err
}

func paint(s string, good bool) string {
	if good {
		return "\x1b[32m" + s + "\x1b[0m"
	}
	return "\x1b[31m" + s + "\x1b[0m"
}

func row(p podStatus) []string {
	s := p.Status
	if s == nil {
		return []string{p.Pod, string(p.Role), string(p.Answer), "no", "-", "-", "-", "-"}
	}
	ready := "no"
	if s.Ready {
		ready = "yes"
	}
	lag := "-"
	if d, known := s.Lag(); known {
		lag = shortDuration(d)
	}
	clone := "-"
	if s.Clone != nil {
		clone = clean(s.Clone.String(), 60)
		if s.Clone.Donor != "" {
			clone += " from " + clean(s.Clone.Donor, 60)
		}
	}
	codes := strings.Join(sortedCodes(s.Reasons), ",")
	if codes == "" {
		codes = "-"
	}
	return []string{p.Pod, clean(string(s.Role), 20), clean(string(s.State), 40), ready, compactGTIDs(s.GTIDExecuted), lag, clone, codes}
}

// messages returns what a pod has to say beyond its row.
func messages(p podStatus) []string {
	if p.Status == nil {
		return []string{clean(p.Message, 300)}
	}
	var out []string
	if p.Status.Pod != p.Pod {
		out = append(out, fmt.Sprintf("the one that answers says that it is %q", clean(p.Status.Pod, 80)))
	}
	for _, r := range p.Status.Reasons {
		if r.Message != "" {
			out = append(out, clean(agent.Reason.String(r), 300))
		}
	}
	return out
}

// shortDuration rounds to what is worth reading.
func shortDuration(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}

// compactGTIDs shortens a GTID set for a column: the first eight digits of each UUID and, of several intervals, the first and
// the last end; of more than two UUIDs the first two. It is for reading; --json has the whole set.
func compactGTIDs(set string) string {
	set = strings.TrimSpace(set)
	if set == "" {
		return "-"
	}
	members := strings.Split(set, ",")
	var out []string
	for _, member := range members[:min(2, len(members))] {
		uuid, rest, _ := strings.Cut(strings.TrimSpace(member), ":")
		if len(uuid) > 8 {
			uuid = uuid[:8]
		}
		if intervals := strings.Split(rest, ":"); len(intervals) > 2 {
			rest = intervals[0] + ":…:" + intervals[len(intervals)-1]
		}
		out = append(out, clean(uuid+":"+rest, 60))
	}
	text := strings.Join(out, ",")
	if more := len(members) - 2; more > 0 {
		text += fmt.Sprintf(" +%d", more)
	}
	return text
}

// clean makes text from the network fit for a terminal: nothing but printable runes, at most limit of them.
func clean(s string, limit int) string {
	n := 0
	var out strings.Builder
	for _, r := range s {
		if n == limit {
			return out.String() + "…"
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		out.WriteRune(r)
		n++
	}
	return out.String()
}
