package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"ordinal/agent"
	"ordinal/backup"
	"ordinal/backup/catalog"
	"ordinal/backup/replay"
	"ordinal/internal/trust"
	"ordinal/mysqlx"
)

func newRestore(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore [BACKUP|TIME]",
		Short: "Restore a backup onto a volume or into a directory, to any point in time",
		Long: `restore makes a data directory of a backup: BACKUP is an id, or @latest, which it is without one. It needs the store and no pod.

With --volume the data goes onto the volume of a pod that does not run: as a new generation, which takes the place of what is there in one step at the end.
That is kept in quarantine. With --into it goes into a directory that is empty or not there, as a data directory for any mysqld of the version that it is of.
A restore that was interrupted goes on when the same is asked for again.

Only with one of --to-time, --to-gtid, --before-gtid and --to-end is anything executed of what was archived after the backup; TIME alone is short for
--to-time. Then the newest backup that is not beyond that is taken, unless one is named, and it is proven before anything is done that the target can be
reached. On a volume it is agent run that executes it, before anybody may write; for a directory a mysqld is needed here, see --mysqld.`,
		Example: `  agent restore --into /srv/mysql
  agent restore 2026-11-21T12:00:00Z --volume /var/lib/mysql --plan
  agent restore --volume /var/lib/mysql --before-gtid 3e11fa47-71ca-11e1-9e33-c80aa9429562:4711`,
		Args: oneBackup,
	}
	r := &restoreCommand{settings: addOptions(cmd, cmdRestore), surroundings: sur}
	flags := cmd.Flags()
	flags.StringVar(&r.into, "into", "", "directory that becomes a data directory")
	flags.Var((*timeValue)(&r.until.Time), "to-time", "execute what was committed up to this time")
	flags.StringVar(&r.toGTID, "to-gtid", "", "execute what is archived up to where all of these are executed")
	flags.StringVar(&r.beforeGTID, "before-gtid", "", "execute what is archived before this transaction")
	flags.BoolVar(&r.toEnd, "to-end", false, "execute all that is archived")
	flags.StringVar(&r.mysqld, "mysqld", "", "with --into: the server that executes it; empty: the one that is installed")
	flags.BoolVar(&r.planOnly, "plan", false, "print what would be done, and whether it can be; change nothing")
	flags.BoolVar(&r.asJSON, "json", false, "print one JSON object")
	r.ignoreSeal = addIgnoreSeal(cmd)
	bound(cmd, "into", "the path to a directory")
	bound(cmd, "to-time", timeAllowed)
	bound(cmd, "to-gtid", "a GTID set")
	bound(cmd, "before-gtid", "one GTID, like 3e11fa47-71ca-11e1-9e33-c80aa9429562:4711")
	bound(cmd, "mysqld", "the path of a program")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return r.run(cmd, args) }
	return cmd
}

// A restoreCommand is one call of agent restore.
type restoreCommand struct {
	*settings
	*surroundings
	into               string
	until              replay.Target
	toGTID, beforeGTID string
	toEnd              bool
	mysqld             string
	planOnly, asJSON   bool
	ignoreSeal         *bool

	selector catalog.Selector
	named    bool // which backup is said: no other one will do
	replays  bool // until counts
}

// restoreResult is what `agent restore --json` prints. Fields are only ever added.
type restoreResult struct {
	Backup string `json:"backup"`
	Store  string `json:"store"` // its URL
	Place  string `json:"place"` // where the data is
	// Until is up to where the archive was executed, or will be by agent run if Pending is set; "": nothing of it.
	Until   string  `json:"until"`
	Reaches string  `json:"reaches"` // gtid_executed then, as planned
	Pending bool    `json:"pending"`
	Bytes   uint64  `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

func (r *restoreCommand) run(cmd *cobra.Command, args []string) error {
	began := time.Now()
	from, err := r.complete(cmd.Flags(), r.getenv)
	if err != nil {
		return err
	}
	log, err := newLogger(r.stderr, r.logLevel, r.logFormat)
	if err != nil {
		return from.name(err)
	}
	if err := errors.Join(r.where(cmd, from), r.target(cmd, args)); err != nil {
		return err
	}
	ctx := cmd.Context()
	d, err := r.openDepot(ctx, from, r.surroundings, longPatience, *r.ignoreSeal)
	if err != nil {
		return err
	}
	job, plan, err := r.plan(ctx, d, log)
	if err != nil {
		return err
	}
	if r.planOnly {
		return r.printPlan(plan)
	}
	if r.replays && r.into != "" && r.SecretFile != "" {
		ring, err := trust.LoadRing(r.SecretFile)
		if err != nil {
			return err
		}
		job.AgentPasswords = ring.AgentPasswords()
	}
	if err := job.Run(ctx); err != nil {
		return orTerminated(ctx, err, "the backup was restored", "run it again: it goes on where it was")
	}
	return r.print(restoreResult{
		Backup: plan.Backup, Store: d.url, Place: plan.Place, Until: plan.Until, Reaches: plan.Reaches, Pending: r.replays && r.into == "",
		Bytes: plan.Bytes, Seconds: math.Round(time.Since(began).Seconds()*1000) / 1000,
	})
}

// where finds out where the data goes. A volume must have been named: its default is right for pods, not for somebody who tries something.
func (r *restoreCommand) where(cmd *cobra.Command, from origins) error {
	volume := cmd.Flags().Changed("volume")
	switch {
	case volume && r.into != "":
		return &usageError{text: "--volume and --into are given", hint: "give one of them", command: cmd.CommandPath()}
	case r.into != "":
		into, err := filepath.Abs(r.into)
		if err != nil || into == "/" {
			return &agent.OptionError{Flag: "into", Value: r.into, Allowed: allowedFor(cmd.Flags().Lookup("into"))}
		}
		r.into, r.Volume = into, ""
		return nil
	case !volume && from["volume"] == "":
		return &usageError{text: "where to restore to is not said", hint: "give --volume, or --into", command: cmd.CommandPath()}
	}
	return from.name(agent.CheckVolume(r.Volume))
}

// target finds out which backup is restored, and up to where the archive is executed then.
func (r *restoreCommand) target(cmd *cobra.Command, args []string) error {
	refuse := func(flag, value string) error {
		return &agent.OptionError{Flag: flag, Value: value, Allowed: allowedFor(cmd.Flags().Lookup(flag))}
	}
	var given []string
	for _, flag := range []string{"to-time", "to-gtid", "before-gtid", "to-end"} {
		if cmd.Flags().Changed(flag) {
			given = append(given, "--"+flag)
		}
	}
	if len(args) > 0 {
		if t, err := parseTime(strings.TrimPrefix(args[0], "@")); err == nil {
			r.until.Time, given, args = t, append(given, "TIME"), nil
		}
	}
	if len(given) > 1 {
		return &usageError{text: strings.Join(given, " and ") + " are given", hint: "give one of them", command: cmd.CommandPath()}
	}
	var err error
	if r.selector, err = selectorOf(args); err != nil {
		return err
	}
	r.replays = len(given) > 0 && (r.toEnd || given[0] != "--to-end")
	_, unnamed := backup.ParseID(r.selector.String())
	r.named = unnamed == nil
	if !r.named && !r.until.Time.IsZero() {
		if r.selector, err = catalog.ParseSelector("@" + r.until.Time.Format(time.RFC3339Nano)); err != nil {
			return err
		}
	}
	if r.until.GTIDs, err = mysqlx.ParseGTIDSet(r.toGTID); err != nil || r.toGTID == "" && cmd.Flags().Changed("to-gtid") {
		return refuse("to-gtid", r.toGTID)
	}
	if r.until.Before, err = mysqlx.ParseGTIDSet(r.beforeGTID); err != nil || cmd.Flags().Changed("before-gtid") && r.until.Before.Count() != 1 {
		return refuse("before-gtid", r.beforeGTID)
	}
	return nil
}

// plan chooses the backup, and finds out what would be done with it. Of several it is the newest from which the target can be reached: one that is beyond it
// already is passed over. For a time that is one that was finished later: an archive that begins with it could not tell what in it was committed after the time.
func (r *restoreCommand) plan(ctx context.Context, d *depot, log *zap.Logger) (*agent.RestoreJob, *agent.RestorePlan, error) {
	job := &agent.RestoreJob{Store: d.Store, StoreURL: d.url, Keys: d.keys, Volume: r.Volume, Into: r.into, Mysqld: r.mysqld, Log: log}
	if r.replays {
		job.Until = &r.until
	}
	if r.named || !r.replays {
		var err error
		if job.Manifest, err = d.find(ctx, r.selector, func(text string) { log.Warn(text) }); err != nil {
			return nil, nil, err
		}
		plan, err := r.planFor(ctx, d, job)
		return job, plan, err
	}
	all, err := d.place().List(ctx)
	if err != nil {
		return nil, nil, err
	}
	for len(all) > 0 {
		entry, passedOver, err := catalog.Find(all, r.selector)
		if err != nil {
			return nil, nil, orWrongKey(all, err)
		}
		for _, e := range passedOver {
			log.Warn("passing over a backup that failed its last verification", zap.String("backup", e.ID))
		}
		if job.Manifest, err = backup.Open(ctx, d.Store, entry.ID, d.keys); err != nil {
			return nil, nil, err
		}
		var beyond *replay.PassedError
		plan, err := r.planFor(ctx, d, job)
		if !errors.As(err, &beyond) {
			return job, plan, err
		}
		log.Info("passing over a backup that is beyond what is asked for", zap.String("backup", entry.ID))
		older := olderThan(all, entry.ID)
		if _, _, none := catalog.Find(older, r.selector); none != nil {
			return nil, nil, err // which names the target
		}
		all = older
	}
	return nil, nil, &catalog.NoMatchError{Selector: r.selector.String()}
}

// planFor finds out what a job would do, and whether our keys suffice for it.
func (r *restoreCommand) planFor(ctx context.Context, d *depot, job *agent.RestoreJob) (*agent.RestorePlan, error) {
	plan, err := job.Plan(ctx)
	if err == nil {
		err = d.checkKeys(ctx, job.Manifest)
	}
	return plan, err
}

// olderThan returns those before the one with the id, which sort by time.
func olderThan(all []catalog.Entry, id string) []catalog.Entry {
	var older []catalog.Entry
	for _, e := range all {
		if e.ID < id {
			older = append(older, e)
		}
	}
	return older
}

func (r *restoreCommand) printPlan(p *agent.RestorePlan) error {
	if r.asJSON {
		return json.NewEncoder(r.stdout).Encode(p)
	}
	for _, line := range p.Lines() {
		if _, err := fmt.Fprintln(r.stdout, clean(line, 600)); err != nil {
			return err
		}
	}
	return nil
}

func (r *restoreCommand) print(result restoreResult) error {
	if r.asJSON {
		return json.NewEncoder(r.stdout).Encode(result)
	}
	text := fmt.Sprintf("backup %s is restored in %s", result.Backup, result.Place)
	switch {
	case result.Pending:
		text += fmt.Sprintf("; agent run executes the archive up to %s when the pod runs, before anybody may write", result.Until)
	case result.Until != "":
		text += fmt.Sprintf("; the archive is executed up to %s", result.Until)
	default:
		text += "; nothing was executed of what was archived after it"
	}
	_, err := fmt.Fprintln(r.stdout, clean(text, 600))
	return err
}
