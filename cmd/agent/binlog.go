package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"ordinal/agent"
	"ordinal/backup/archive"
	"ordinal/backup/find"
	"ordinal/internal/binlog"
	"ordinal/mysqlx"
)

func newBinlog(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "binlog",
		Short: "Look for transactions in the archived binlogs",
		Long: `agent run archives the binlogs in the store that --store names; see agent archive status.

  find   the transactions that did something to a table: the one to stop before, in a restore with --before-gtid`,
		Args: cobra.ArbitraryArgs,
		RunE: helpOrUnknown,
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(newBinlogFind(sur))
	return cmd
}

// defaultFound is how many transactions are shown unless somebody wants more.
const defaultFound = 1000

func newBinlogFind(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "find",
		Short: "Find the transactions that did something to a table",
		Long: `find goes through the archived binlogs, or with --dir through those in a directory, and shows the transactions that did to a table what is looked
for: GTID, time of commit, what it did to what, and the statement of a DDL as far as there is one. Rows are never shown. A statement that find does not
understand is shown whatever was looked for, as "unclear".

It fails, after it has shown what it found, if a part of the archive is damaged: then it did not look at everything.`,
		Example: `  agent binlog find --table shop.orders --type drop
  agent binlog find --table 'shop.*' --type delete,truncate --since 2026-11-21T12:00:00Z --json
  agent restore @latest --volume /var/lib/mysql --before-gtid 3e11fa47-71ca-11e1-9e33-c80aa9429562:4711`,
		Args: noArgs,
	}
	f := &findCommand{settings: addOptions(cmd, cmdBinlog), surroundings: sur}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.tables, "table", nil, "only what was done to this table; may be given several times")
	flags.Var((*listValue)(&f.types), "type", "only what is of this kind; may be given several times")
	flags.Var((*timeValue)(&f.query.Since), "since", "only what was committed at this time or later")
	flags.Var((*timeValue)(&f.query.Until), "until", "only what was committed at this time or earlier")
	flags.StringVar(&f.gtids, "gtids", "", "only these transactions")
	flags.StringVar(&f.dir, "dir", "", "look through the binlogs in this directory, and not through the archive")
	flags.StringVar(&f.base, "base", "binlog", "with --dir: what the names of binlogs begin with")
	flags.IntVar(&f.limit, "limit", defaultFound, "how many transactions to show at most; 0: all")
	flags.BoolVar(&f.asJSON, "json", false, "print one JSON object per line")
	f.ignoreSeal = addIgnoreSeal(cmd)
	bound(cmd, "table", "a table, like shop.orders, or all of a schema, like shop")
	bound(cmd, "type", "of "+typeNames())
	bound(cmd, "since", timeAllowed)
	bound(cmd, "until", timeAllowed)
	bound(cmd, "gtids", "a GTID set")
	bound(cmd, "dir", "the path to a directory with binlogs and their index")
	bound(cmd, "base", "a server's log_bin, without its directory")
	bound(cmd, "limit", "0 or more")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return f.run(cmd) }
	return cmd
}

func typeNames() string {
	var names []string
	for _, t := range find.Types() {
		names = append(names, string(t))
	}
	return strings.Join(names, ", ")
}

// A findCommand is one call of agent binlog find.
type findCommand struct {
	*settings
	*surroundings
	tables, types []string
	gtids         string
	dir, base     string
	limit         int
	asJSON        bool
	ignoreSeal    *bool
	query         find.Query
}

func (f *findCommand) run(cmd *cobra.Command) error {
	from, err := f.complete(cmd.Flags(), f.getenv)
	if err != nil {
		return err
	}
	if err := f.check(cmd); err != nil {
		return err
	}
	ctx := cmd.Context()
	var logs iter.Seq2[find.Log, error]
	var missing error
	if f.dir == "" {
		logs, missing, err = f.archived(ctx, from)
	} else if dir, openErr := os.OpenRoot(f.dir); openErr == nil {
		defer dir.Close()
		logs = find.Directory(dir, f.base)
	} else {
		err = &notFoundError{text: "look through binlogs: " + openErr.Error(), hint: "give a directory with --dir", code: agent.ExitConfig, err: openErr}
	}
	if err != nil {
		return err
	}
	shown, err := f.show(ctx, logs)
	switch {
	case err != nil && ctx.Err() != nil:
		return &terminatedError{"everything was looked at", "", err}
	case err != nil:
		return err
	case shown == 0 && !f.asJSON:
		fmt.Fprintln(f.stdout, "nothing found")
	}
	return missing
}

func (f *findCommand) check(cmd *cobra.Command) error {
	refuse := func(flag, value string) error {
		return &agent.OptionError{Flag: flag, Value: value, Allowed: allowedFor(cmd.Flags().Lookup(flag))}
	}
	for _, text := range f.tables {
		t, err := find.ParseTable(text)
		if err != nil {
			return refuse("table", text)
		}
		f.query.Tables = append(f.query.Tables, t)
	}
	for _, text := range f.types {
		t, err := find.ParseType(text)
		if err != nil {
			return refuse("type", text)
		}
		f.query.Types = append(f.query.Types, t)
	}
	var err error
	if f.query.GTIDs, err = mysqlx.ParseGTIDSet(f.gtids); err != nil {
		return refuse("gtids", f.gtids)
	}
	if f.limit < 0 {
		return refuse("limit", fmt.Sprint(f.limit))
	}
	return nil
}

// archived returns the segments of the set's archive, and what is wrong with those that are left out.
func (f *findCommand) archived(ctx context.Context, from origins) (all iter.Seq2[find.Log, error], missing error, err error) {
	d, err := f.openDepot(ctx, from, f.surroundings, shortPatience, *f.ignoreSeal)
	if err != nil {
		return nil, nil, err
	}
	index, err := archive.Load(ctx, d.Store, d.keys)
	if err != nil {
		return nil, nil, err
	}
	if index.Empty() {
		return nil, nil, &notFoundError{text: "nothing is archived in " + d.url, hint: "agent run archives the binlogs when it has --store; with --dir the binlogs of a directory are looked through"}
	}
	if gaps := index.Gaps(index.Begin()); !gaps.IsEmpty() {
		fmt.Fprintf(f.stderr, "note: the archive lacks %s: what these did is not known\n", clean(gaps.String(), 300))
	}
	return archivedLogs(index), errors.Join(index.Damaged()...), nil
}

// archivedLogs returns the segments of an archive as logs.
func archivedLogs(index *archive.Index) iter.Seq2[find.Log, error] {
	return func(yield func(find.Log, error) bool) {
		for _, s := range index.Segments() {
			l := find.Log{Name: s.Name, GTIDs: s.GTIDs, First: s.First, Last: s.Last, Open: func(ctx context.Context) (io.ReadCloser, error) { return index.Open(ctx, s) }}
			if !yield(l, nil) {
				return
			}
		}
	}
}

// show prints what is found, and returns how much that was.
func (f *findCommand) show(ctx context.Context, logs iter.Seq2[find.Log, error]) (shown int, err error) {
	enc := json.NewEncoder(f.stdout)
	for found, err := range find.Once(f.query.Transactions(ctx, logs)) {
		if err != nil {
			return shown, damagedLog(err)
		}
		if f.limit > 0 && shown == f.limit {
			fmt.Fprintf(f.stderr, "note: there are more than %d: see --limit, --since and --until\n", f.limit)
			return shown, nil
		}
		shown++
		if f.asJSON {
			err = enc.Encode(found)
		} else {
			err = printFound(f.stdout, found)
		}
		if err != nil {
			return shown, err
		}
	}
	return shown, nil
}

// printFound shows a transaction to a person.
func printFound(w io.Writer, f find.Found) error {
	const column = 160
	gtid, at, note := f.GTID, "-", ""
	if gtid == "" {
		gtid = "without a GTID"
	}
	if !f.Committed.IsZero() {
		at = f.Committed.UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	if f.XAPrepare {
		note = "; prepared only: another one commits it"
	}
	if f.Incomplete {
		note += "; and more"
	}
	if _, err := fmt.Fprintf(w, "%s  %s  %s%s\n", at, gtid, effectsText(f.Effects), note); err != nil {
		return err
	}
	for _, s := range f.Statements {
		text := clean(strings.Join(strings.Fields(s.Text), " "), column)
		if s.Withheld {
			text = "(not shown: it may contain a password)"
		}
		if s.Schema != "" {
			text += "  (in schema " + clean(s.Schema, 64) + ")"
		}
		if _, err := fmt.Fprintf(w, "  %s\n", text); err != nil {
			return err
		}
	}
	return nil
}

// effectsText says what a transaction did, as far as there is room.
func effectsText(effects []binlog.Effect) string {
	const most = 6
	var parts []string
	for _, e := range effects[:min(len(effects), most)] {
		part := string(e.Action)
		if e.Object != "" && e.Object != binlog.ObjectTable {
			part += " " + e.Object
		}
		switch {
		case e.Schema != "" && e.Name != "":
			part += " " + e.Schema + "." + e.Name
		case e.Schema != "" || e.Name != "":
			part += " " + e.Schema + e.Name
		}
		parts = append(parts, clean(part, 140))
	}
	if more := len(effects) - most; more > 0 {
		parts = append(parts, fmt.Sprintf("%d more", more))
	}
	if len(parts) == 0 {
		return "nothing that is known"
	}
	return strings.Join(parts, ", ")
}

// damagedLog says what a damaged binlog means here.
func damagedLog(err error) error {
	var damage *binlog.DamageError
	if errors.As(err, &damage) {
		return &notFoundError{text: err.Error(), hint: "nothing behind this place was looked at; see agent archive status", code: agent.ExitNotRestorable, err: err}
	}
	return err
}

// A notFoundError says that there is nothing to look at.
type notFoundError struct {
	text, hint string
	code       int // 0: ExitNotRestorable
	err        error
}

func (e *notFoundError) Error() string { return e.text }
func (e *notFoundError) Unwrap() error { return e.err }
func (e *notFoundError) Hint() string  { return e.hint }
func (e *notFoundError) ExitCode() int {
	if e.code != 0 {
		return e.code
	}
	return agent.ExitNotRestorable
}
