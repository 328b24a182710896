package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ordinal/backup/catalog"
	"ordinal/internal/progress"
)

func newBackupsPrune(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove backups that are not to be kept",
		Long: `prune removes the backups that none of the rules keeps, and what of the binlogs' archive no backup needs then. Whatever the rules say, it keeps the newest
backup, the last one that was verified, and those that are marked; and it removes nothing if the newest one is not well. It also removes what jobs have left that
died in the middle: if there may be such, it looks for some minutes whether a job still works on it.

Age is counted from the newest backup, not from today's date: where no backups are made any more, none are removed.`,
		Example: `  agent backups prune --keep-last 3 --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
  agent backups prune --keep-point-in-time 14d`,
		Args: noArgs,
	}
	s := addOptions(cmd, cmdBackups)
	var keep retention
	keep.addFlags(cmd)
	dryRun := cmd.Flags().Bool("dry-run", false, "only show what would be removed")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := s.complete(cmd.Flags(), sur.getenv)
		if err != nil {
			return err
		}
		if err := keep.check(); err != nil {
			return err
		}
		if !keep.given() {
			return &usageError{text: "nothing says what is to be kept", hint: "give --keep-last, --keep-daily, --keep-weekly, --keep-monthly, --max-age or --keep-point-in-time", command: cmd.CommandPath()}
		}
		ctx := cmd.Context()
		d, err := s.openDepot(ctx, from, sur, longPatience, false)
		if err != nil {
			return err
		}
		r := pruneResult{Store: d.url, DryRun: *dryRun, Cleaned: []string{}}
		r.pruned, err = d.prune(ctx, keep, *dryRun)
		if err == nil {
			var cleaned catalog.Cleaned
			cleaned, err = catalog.Clean(ctx, d.place(), d.Store, *dryRun, func(left []catalog.Entry) {
				fmt.Fprintf(sur.stderr, "note: %d unfinished backups; looking for %v whether anybody works on them\n", len(left), catalog.Quiet)
			})
			r.Cleaned = append(r.Cleaned, idsOf(cleaned.Removed)...)
		}
		if r.Plan.Keep == nil {
			return err
		}
		if *asJSON {
			return errors.Join(json.NewEncoder(sur.stdout).Encode(r), err)
		}
		return errors.Join(r.print(sur.stdout), err)
	}
	return cmd
}

// pruneResult is what `agent backups prune --json` prints. Fields are only ever added.
type pruneResult struct {
	Store  string `json:"store"` // its URL
	DryRun bool   `json:"dry_run"`
	pruned
	Cleaned []string `json:"cleaned"` // ids of unfinished backups that were removed
}

func idsOf(entries []catalog.Entry) []string {
	ids := []string{}
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	return ids
}

// print shows a person what becomes of each backup, and why.
func (r *pruneResult) print(w io.Writer) error {
	type line struct {
		catalog.Decision
		what string
	}
	var lines []line
	for _, part := range []struct {
		what      string
		decisions []catalog.Decision
	}{{"keep", r.Plan.Keep}, {"REMOVE", r.Plan.Remove}, {"leave", r.Plan.Apart}} {
		for _, e := range part.decisions {
			lines = append(lines, line{e, part.what})
		}
	}
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(b.ID, a.ID) })
	rows := [][]string{{"BACKUP", "STATE", "VERIFIED", "STORED", "WHAT", "WHY"}}
	for _, l := range lines {
		why := clean(oneLine(strings.Join(l.Reasons, ", ")), 200)
		rows = append(rows, []string{l.ID, string(l.State), string(l.Verdict), progress.Bytes(l.Bytes), l.what, orDash(why)})
	}
	did := "removed"
	if r.DryRun {
		did = "would remove"
	}
	notes := []string{fmt.Sprintf("%s %d backups", did, len(r.Removed))}
	if r.Archive.Objects > 0 {
		notes = append(notes, fmt.Sprintf("%s %d objects of the binlogs' archive, %s", did, r.Archive.Objects, progress.Bytes(r.Archive.Bytes)))
	}
	if len(r.Cleaned) > 0 {
		notes = append(notes, fmt.Sprintf("%s what %d jobs have left: %s", did, len(r.Cleaned), strings.Join(r.Cleaned, ", ")))
	}
	if len(lines) == 0 {
		rows, notes = nil, []string{"there are no backups"}
	}
	return printRows(w, rows, notes, nil)
}
