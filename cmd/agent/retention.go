package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"ordinal/agent"
	"ordinal/backup/archive"
	"ordinal/backup/catalog"
	"ordinal/mysqlx"
)

// maxKeep bounds how many backups of a kind can be kept.
const maxKeep = 100_000

// retention says which backups are kept, as flags do: those that at least one rule keeps.
type retention struct{ catalog.Policy }

// addFlags adds a flag per rule.
func (r *retention) addFlags(cmd *cobra.Command) {
	for _, rule := range r.counts() {
		cmd.Flags().IntVar(rule.value, rule.flag, 0, rule.help)
		bound(cmd, rule.flag, fmt.Sprintf("0 to %d", maxKeep))
	}
	cmd.Flags().Var((*ageValue)(&r.Within), "max-age", "keep all that are not older than the newest by more than this; of older ones only those that another rule keeps")
	cmd.Flags().Var((*ageValue)(&r.PointInTime), "keep-point-in-time", "keep what it takes to restore, with the archive of the binlogs, to any moment of the last so long")
	bound(cmd, "max-age", ageAllowed)
	bound(cmd, "keep-point-in-time", ageAllowed)
}

type keepRule struct {
	flag  string
	value *int
	help  string
}

func (r *retention) counts() []keepRule {
	return []keepRule{
		{"keep-last", &r.Last, "keep this many of the newest backups"},
		{"keep-daily", &r.Daily, "keep the newest backup of each of the last so many days (UTC) that have one"},
		{"keep-weekly", &r.Weekly, "keep the newest backup of each of the last so many weeks that have one"},
		{"keep-monthly", &r.Monthly, "keep the newest backup of each of the last so many months that have one"},
	}
}

// given reports whether there is any rule: without one everything is kept.
func (r *retention) given() bool { return r.Policy != catalog.Policy{} }

// check refuses numbers that are none.
func (r *retention) check() error {
	for _, rule := range r.counts() {
		if *rule.value < 0 || *rule.value > maxKeep {
			return &agent.OptionError{Flag: rule.flag, Value: strconv.Itoa(*rule.value), Allowed: fmt.Sprintf("0 to %d", maxKeep)}
		}
	}
	return nil
}

// pruned is what became of backups that are not to be kept. Fields are only ever added.
type pruned struct {
	Plan    catalog.Plan `json:"plan"`
	Removed []string     `json:"removed"` // ids; with a dry run those that would be
	// Archive is what was removed of the binlogs' archive: what no backup needs any more.
	Archive prunedArchive `json:"archive"`
}

type prunedArchive struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

// plan decides what is kept. It removes nothing.
func (d *depot) plan(ctx context.Context, r retention) (catalog.Plan, error) {
	entries, err := d.place().List(ctx)
	if err != nil {
		return catalog.Plan{}, err
	}
	var reach catalog.Reach
	if r.PointInTime > 0 {
		index, err := archive.Load(ctx, d.Store, d.keys)
		if err != nil {
			return catalog.Plan{}, err
		}
		reach = func(from mysqlx.GTIDSet) time.Time { return index.Reaches(from).Time }
	}
	return catalog.NewPlan(entries, r.Policy, reach, time.Now())
}

// prune removes what is not to be kept; a dry run only says what. What was removed until an error is in the result.
func (d *depot) prune(ctx context.Context, r retention, dryRun bool) (p pruned, err error) {
	p.Removed = []string{}
	if p.Plan, err = d.plan(ctx, r); err != nil {
		return p, err
	}
	switch {
	case dryRun && p.Plan.Refused != "":
		return p, &catalog.RefusedError{Reason: p.Plan.Refused}
	case dryRun:
		for _, e := range p.Plan.Remove {
			p.Removed = append(p.Removed, e.ID)
		}
	default:
		err = catalog.Prune(ctx, d.Store, p.Plan, d.place().CheckSizes, func(e catalog.Decision) { p.Removed = append(p.Removed, e.ID) })
	}
	if err != nil {
		return p, err
	}
	a, err := archive.Prune(ctx, d.Store, d.keys, p.Plan.ArchiveBase, dryRun)
	p.Archive = prunedArchive{len(a.Objects), a.Bytes}
	return p, err
}
