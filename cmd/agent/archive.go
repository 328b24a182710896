package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"

	"ordinal/backup/archive"
	"ordinal/backup/catalog"
	"ordinal/internal/progress"
	"ordinal/mysqlx"
)

func newArchive(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "archive",
		Short: "Show what is archived of the binlogs",
		Long: `agent run archives the set's binlogs in the store that --store names, within seconds: with them a backup can be brought to any later point in time.

  status   up to when everything is archived, and what is missing`,
		Args: cobra.ArbitraryArgs,
		RunE: helpOrUnknown,
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(newArchiveStatus(sur))
	return cmd
}

func newArchiveStatus(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show up to when everything is archived, and what is missing",
		Long: `status reads what the store has of the set's binlogs: it asks no pod, and works when all are lost. It exits 82 if something of the archive is damaged, or if
the latest backup cannot be brought to the archive's end. What the pods say of it is part of agent status --json.`,
		Args: noArgs,
	}
	s := addOptions(cmd, cmdArchive)
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	ignoreSeal := addIgnoreSeal(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := s.complete(cmd.Flags(), sur.getenv)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		d, err := s.openDepot(ctx, from, sur, shortPatience, *ignoreSeal)
		if err != nil {
			return err
		}
		index, err := archive.Load(ctx, d.Store, d.keys)
		if err != nil {
			return err
		}
		backups, err := d.place().List(ctx)
		if err != nil {
			return err
		}
		state := newArchiveState(d.url, index, time.Now())
		verdict := errors.Join(append(index.Damaged(), state.follow(backups, index))...)
		if *asJSON {
			err = json.NewEncoder(sur.stdout).Encode(state)
		} else {
			err = state.print(sur.stdout)
		}
		return errors.Join(err, verdict)
	}
	return cmd
}

// archiveState is what `agent archive status --json` prints. Fields are only ever added.
type archiveState struct {
	Store    string `json:"store"` // its URL
	Segments int    `json:"segments"`
	Bytes    int64  `json:"bytes"` // of binlogs, before they are compressed
	// Begin is what comes before the archive's first transaction: a backup that has all of it can be brought forward. Tip is everything up to its end.
	Begin mysqlx.GTIDSet `json:"begin_gtid_set"`
	Tip   mysqlx.GTIDSet `json:"tip_gtid_set"`
	// Gap is what the archive lacks between the two.
	Gap mysqlx.GTIDSet `json:"archive_gap"`

	FirstCommit time.Time `json:"first_commit_at,omitzero"`
	LastCommit  time.Time `json:"last_commit_at,omitzero"`
	// CompleteUntil is up to when everything that was committed is in it, by the source's clock, and RPO how many seconds ago that is by ours; absent if it is
	// not known.
	CompleteUntil time.Time `json:"complete_until,omitzero"`
	RPO           *float64  `json:"rpo_seconds,omitempty"`

	Damaged []string `json:"damaged"` // what is wrong with objects that are left out

	// LatestBackup is the latest one that can be restored, and how far the archive brings it; absent if there is none.
	LatestBackup *backupReach `json:"latest_backup,omitempty"`
}

// A backupReach says how far an archive brings a backup.
type backupReach struct {
	ID      string        `json:"id"`
	Reaches archive.Point `json:"reaches"`
	Problem string        `json:"problem,omitempty"` // why that is not the archive's end
}

// follow finds out how far the archive brings the latest backup. The error says why that is not its end.
func (a *archiveState) follow(backups []catalog.Entry, x *archive.Index) error {
	e, _, err := catalog.Find(backups, catalog.Selector{})
	if err != nil || a.Segments == 0 {
		return nil // which agent backups list shows
	}
	a.LatestBackup = &backupReach{ID: e.ID, Reaches: x.Reaches(e.GTIDs())}
	if err := x.Check(e.GTIDs(), time.Time{}); err != nil {
		a.LatestBackup.Problem = clean(oneLine(err.Error()), 600)
		return fmt.Errorf("bring backup %s forward: %w", e.ID, err)
	}
	return nil
}

func newArchiveState(url string, x *archive.Index, now time.Time) archiveState {
	a := archiveState{Store: url, Begin: x.Begin(), Tip: x.Tip(), Gap: x.Gaps(x.Begin()), CompleteUntil: x.CompleteUntil(), Damaged: []string{}}
	for _, s := range x.Segments() {
		a.Segments++
		a.Bytes += s.Bytes
		if a.FirstCommit.IsZero() || !s.First.IsZero() && s.First.Before(a.FirstCommit) {
			a.FirstCommit = s.First
		}
		if s.Last.After(a.LastCommit) {
			a.LastCommit = s.Last
		}
	}
	if !a.CompleteUntil.IsZero() {
		rpo := max(0, math.Round(now.Sub(a.CompleteUntil).Seconds()*10)/10)
		a.RPO = &rpo
	}
	for _, err := range x.Damaged() {
		a.Damaged = append(a.Damaged, clean(oneLine(err.Error()), 300))
	}
	return a
}

// print shows it to a person.
func (a archiveState) print(w io.Writer) error {
	lines := [][2]string{{"store", a.Store}}
	if a.Segments == 0 {
		lines = append(lines, [2]string{"archived", "nothing"})
	} else {
		lines = append(lines,
			[2]string{"archived", fmt.Sprintf("%s in %d segments", progress.Bytes(a.Bytes), a.Segments)},
			[2]string{"commits", a.FirstCommit.Format(time.RFC3339) + " to " + a.LastCommit.Format(time.RFC3339)},
			[2]string{"begins after", orDash(a.Begin.String())},
			[2]string{"ends with", orDash(a.Tip.String())})
	}
	if a.RPO != nil {
		lines = append(lines, [2]string{"complete to", fmt.Sprintf("%s, %s ago", a.CompleteUntil.Format(time.RFC3339), shortDuration(time.Duration(*a.RPO*float64(time.Second))))})
	}
	if !a.Gap.IsEmpty() {
		lines = append(lines, [2]string{"lacks", a.Gap.String()})
	}
	for _, text := range a.Damaged {
		lines = append(lines, [2]string{"damaged", text})
	}
	if b := a.LatestBackup; b != nil {
		lines = append(lines, [2]string{"backup " + b.ID, "can be brought to " + b.Reaches.String()})
	}
	return printPairs(w, lines)
}

// printPairs writes names and values in two columns. Values may be from a store.
func printPairs(w io.Writer, lines [][2]string) error {
	width := 0
	for _, l := range lines {
		width = max(width, len(l[0]))
	}
	for _, l := range lines {
		if _, err := fmt.Fprintf(w, "%-*s  %s\n", width, l[0], clean(oneLine(l[1]), 600)); err != nil {
			return err
		}
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
