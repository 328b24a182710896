package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// text is the report for a terminal.
func (r *result) text() string {
	var b strings.Builder
	for _, line := range r.preface() {
		fmt.Fprintln(&b, line)
	}
	for _, t := range r.tables() {
		b.WriteString(t.text())
	}
	return b.String()
}

// markdown is the report for a document.
func (r *result) markdown() string { return r.document(r.tables()) }

// sections are the parts of the report that have a place of their own in a document, of which there are results.
func (r *result) sections() (list []section) {
	if tables := r.copyTables(); len(tables) > 0 {
		list = append(list, section{resultsMarks, r.document(tables)})
	}
	if tables := r.backupTables(); len(tables) > 0 {
		list = append(list, section{backupsMarks, r.document(tables)})
	}
	return list
}

// document is some tables, with what their figures depend on.
func (r *result) document(tables []table) string {
	var parts []string
	var preface strings.Builder
	for _, line := range r.preface() {
		fmt.Fprintf(&preface, "- %s\n", line)
	}
	parts = append(parts, preface.String())
	for _, t := range tables {
		parts = append(parts, t.markdown())
	}
	return strings.Join(parts, "\n")
}

// preface says what the figures depend on.
func (r *result) preface() []string {
	lines := []string{
		"machine: " + r.Machine.String(),
		fmt.Sprintf("server: MySQL %s; agent: %s, %s", r.Server, r.Agent, r.Machine.Go),
		fmt.Sprintf("begun %s, took %v; rounds: %d", r.Started.Format("2006-01-02 15:04 UTC"),
			time.Duration(r.Took*float64(time.Second)).Round(time.Second), r.Rounds),
	}
	for _, left := range r.Left {
		lines = append(lines, "left out: "+left)
	}
	return lines
}

func (r *result) tables() []table { return append(r.copyTables(), r.backupTables()...) }

// copyTables are all but those of backups.
func (r *result) copyTables() (list []table) {
	for _, s := range r.Sites {
		if len(s.Copies) > 0 {
			list = append(list, copiesTable("Copies on "+s.where(), s.Copies), cpuTable("CPU seconds per GB on "+s.where(), s.Copies))
		}
		if len(s.Writes) > 0 {
			list = append(list, s.writesTable())
		}
		if len(s.Memory) > 0 {
			list = append(list, s.memoryTable())
		}
		if s.Tables != nil {
			list = append(list, s.tablesTable())
		}
	}
	if len(list) == 0 {
		return nil
	}
	if t := aimsTable("Aims: "+r.Way, r.aims()); len(t.rows) > 0 {
		if r.small() {
			t.notes = append(t.notes, smallNote())
		}
		list = append([]table{t}, list...)
	}
	return append(list, r.limitsTable())
}

// where names the place for people.
func (f *found) where() string {
	if isMemory(f.FileSystem) {
		return f.FileSystem + " (memory)"
	}
	return f.FileSystem
}

// small says whether there was less data than the aims are meant for.
func (r *result) small() bool {
	return slices.ContainsFunc(r.Sites, func(s found) bool {
		return slices.ContainsFunc(s.Copies, func(f figures) bool { return len(f.Runs) > 0 && f.Runs[0].Bytes < aimedSize })
	})
}

func smallNote() string {
	return fmt.Sprintf("The aims are meant for %d GB or more: this was a look.", aimedSize/1_000_000_000)
}

func aimsTable(title string, aims []aim) table {
	t := table{title: title, head: []string{"ratio", "on", "wanted", "found", "min … max", "verdict"}}
	for _, a := range aims {
		t.add(a.what, a.where, a.wantedText(), fmt.Sprintf("%.2f", a.found.median), fmt.Sprintf("%.2f … %.2f", a.found.min, a.found.max), a.verdict())
	}
	return t
}

func seconds(s float64) string { return fmt.Sprintf("%.1f", s) }

// dash stands for 0 where there is nothing to tell.
func dash(format string, figure float64) string {
	if figure == 0 {
		return "–"
	}
	return fmt.Sprintf(format, figure)
}

// copiesTable has a line per contender, with ratios to the server's own clone of the same round.
func copiesTable(title string, list []figures) table {
	t := table{title: title, head: []string{"", "MB/s", "min … max", "/ CLONE INSTANCE", "min … max", "copy, s", "whole, s", "/ CLONE INSTANCE", "empty to ready, s"}}
	base := named(list, nameAutotune)
	for _, f := range list {
		rate := spreadOf(f.Runs, copied.rate)
		ratio := ratios(f.Runs, base, copied.rate)
		whole := ratios(base, f.Runs, func(c copied) float64 { return c.Whole })
		t.add(f.Name, fmt.Sprintf("%.0f", rate.median), fmt.Sprintf("%.0f … %.0f", rate.min, rate.max), fmt.Sprintf("%.2f", ratio.median),
			fmt.Sprintf("%.2f … %.2f", ratio.min, ratio.max), seconds(median(f.Runs, func(c copied) float64 { return c.Copy })),
			seconds(median(f.Runs, func(c copied) float64 { return c.Whole })), fmt.Sprintf("%.2f", whole.median),
			dash("%.1f", median(f.Runs, func(c copied) float64 { return c.Ready })))
	}
	for _, f := range list {
		if flaws := f.flaws(); flaws != "" {
			t.notes = append(t.notes, flaws)
		}
	}
	if len(base) > 0 {
		t.notes = append(t.notes, fmt.Sprintf("%.2f GB of data files; rounds: %d, of which these are the medians; ratios of rates are of one round.", float64(base[0].Bytes)/1e9, len(base)))
	}
	return t
}

// flaws says what makes the runs of a contender something else than they are called, "" if nothing does.
func (f figures) flaws() string {
	broke, fell := 0, 0
	for _, run := range f.Runs {
		if run.Resumes > 0 {
			broke++
		}
		if run.Fallback {
			fell++
		}
	}
	if broke+fell == 0 {
		return ""
	}
	return fmt.Sprintf("%s: of %d runs %d broke and went on, %d fell back to the server's copy.", f.Name, len(f.Runs), broke, fell)
}

func cpuTable(title string, list []figures) table {
	t := table{title: title, head: []string{"", "donor mysqld", "donor agent or tar", "recipient", "sum", "/ CLONE INSTANCE"}}
	base := named(list, nameAutotune)
	for _, f := range list {
		perGB := func(seconds func(cpu) float64) string {
			return dash("%.2f", median(f.Runs, func(c copied) float64 { return c.perGB(seconds(c.CPU)) }))
		}
		t.add(f.Name, perGB(func(c cpu) float64 { return c.Donor }), perGB(func(c cpu) float64 { return c.Sender }),
			perGB(func(c cpu) float64 { return c.Recipient }), perGB(cpu.sum),
			fmt.Sprintf("%.2f", ratios(f.Runs, base, func(c copied) float64 { return c.CPU.sum() }).median))
	}
	return t
}

func (f *found) writesTable() table {
	t := table{title: "What a clone leaves to the source's writers on " + f.where(),
		head: []string{"", "transactions/s", "without a clone", "kept", "min … max", "counted for, s", "transactions lost"}}
	for _, w := range f.Writes {
		kept := spreadOf(w.Runs, window.kept)
		lost := "–"
		if !slices.ContainsFunc(w.Runs, func(w window) bool { return !w.Complete }) {
			lost = fmt.Sprintf("%.0f", median(w.Runs, window.lost))
		}
		t.add(w.Name, fmt.Sprintf("%.0f", median(w.Runs, func(w window) float64 { return w.During })),
			fmt.Sprintf("%.0f", median(w.Runs, func(w window) float64 { return w.Alone })), percent(kept.median),
			percent(kept.min)+" … "+percent(kept.max), seconds(median(w.Runs, func(w window) float64 { return w.Seconds })), lost)
	}
	t.notes = append(t.notes, "Donor, recipient and writers share the machine. Lost: over a whole clone; – where the window was shorter than the clone.")
	return t
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

func mebibytes(bytes int64) string { return dash("%.1f", float64(bytes)/(1<<20)) }

func (f *found) memoryTable() table {
	t := table{title: "Memory on " + f.where(), head: []string{"", "data, GB", "donor's sidecar, MiB", "recipient, MiB", "MB/s", "empty to ready, s"}}
	for _, w := range f.Memory {
		t.add(w.Name, fmt.Sprintf("%.1f", float64(w.Run.Bytes)/1e9), mebibytes(w.Run.SidecarHWM), mebibytes(w.Run.RecipientHWM),
			fmt.Sprintf("%.0f", w.Run.rate()), seconds(w.Run.Ready))
	}
	return t
}

func (f *found) tablesTable() table {
	t := copiesTable(fmt.Sprintf("%d small tables on %s", f.Tables.Count, f.where()), f.Tables.Copies)
	t.notes = append(t.notes, fmt.Sprintf("They took %.0f s to make.", f.Tables.Created))
	return t
}

func (r *result) limitsTable() table {
	t := table{title: "Limits", head: []string{"", "found", "allowed"}}
	sidecar, recipient := r.largestHWM()
	t.add("memory of the donor's sidecar, MiB", mebibytes(sidecar), mebibytes(limitHWM))
	t.add("memory of the recipient, MiB", mebibytes(recipient), mebibytes(limitHWM))
	t.add("size of the agent, MB", fmt.Sprintf("%.1f", float64(r.Binary)/1e6), fmt.Sprintf("%.1f", limitBinary/1e6))
	if starts := spreadOf(r.starts(), func(s float64) float64 { return s }); starts.max > 0 {
		t.add("agent init on a complete volume, s", fmt.Sprintf("%.2f", starts.max), fmt.Sprintf("%.2f", limitStart))
		t.notes = append(t.notes, fmt.Sprintf("Memory and time are the largest of all; agent init took %.2f s in the median of %d.", starts.median, len(r.starts())))
	}
	return t
}
