package replay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"ordinal/mysqlx"
)

// Defaults of a Replayer.
const (
	DefaultBatchBytes = 128 << 20
	DefaultWorkers    = 8
)

const (
	waitFor     = time.Second      // for transactions to be executed, before it is asked how the applier is
	idleFor     = 5                // such looks in a row, and it will never be
	cleanUpTime = 30 * time.Second // for putting things right after the caller has given up
)

// A Replayer executes archived transactions on a server. It is for one goroutine.
type Replayer struct {
	// DB is the server, as an account with the privileges of the agent's. With BINLOG_ADMIN as well it can make room, see KeepBinlogs.
	DB *mysqlx.DB
	// DataDir is the path of the server's data directory as this process sees it. This process must be able to write there, and the server must be able to
	// read and remove what it writes.
	DataDir string
	// Journal is the path of the file that says what is under way. It lies on the same volume, perhaps in the data directory.
	Journal string
	// BatchBytes is the size of a relay log, in bytes; it ends with the transaction that reaches it. One is executed while the next one is written, so twice
	// as much is taken from the volume. 0 means DefaultBatchBytes.
	BatchBytes int64
	// Workers is how many transactions the server executes at a time. 0 means DefaultWorkers.
	Workers int
	// KeepBinlogs leaves the binlogs that the server writes while it executes. Otherwise they are purged after each batch, as far as the account may: the
	// archive has the same transactions, and a volume need not have room for all of them again.
	KeepBinlogs bool
	// Archive and Backup are noted in the journal, for people. No secrets.
	Archive, Backup string
	// Progress, if not nil, is called about once a second.
	Progress func(Progress)
}

// Progress says how far a replay is.
type Progress struct {
	Total, Done uint64 // transactions; Total of this run
	Until       mysqlx.GTIDSet
	Executed    mysqlx.GTIDSet
}

// A Result says what a Replayer did.
type Result struct {
	Target       Target         `json:"target"`
	Executed     mysqlx.GTIDSet `json:"gtid_executed"` // exactly that
	Last         Point          `json:"last"`
	Transactions uint64         `json:"transactions"` // of this run
	Bytes        int64          `json:"bytes"`        // of relay logs
	Batches      int            `json:"batches"`
	Took         time.Duration  `json:"-"`
	// ClockWentBack: see Plan.
	ClockWentBack bool `json:"clock_went_back,omitempty"`
	// SleepingEvents are scheduled events that came with the replay, or from a replica's backup, and that this server does not execute until somebody says
	// ALTER EVENT … ENABLE. nil if the account may not see them.
	SleepingEvents []string `json:"sleeping_events,omitempty"`
	// Prepared is the number of XA transactions that are prepared at the target: they hold their locks until somebody commits them or rolls them back. -1 if
	// the account may not see them.
	Prepared int `json:"prepared_transactions"`
	// BinlogsKept says that the account may not purge binlogs.
	BinlogsKept bool `json:"binlogs_kept,omitempty"`
}

// Run brings the server to the target, or goes on with what an earlier Run has begun: then the journal says what the target is, and target is not looked at
// unless it is another one, which is refused. It returns when the server has executed exactly what it should and has its own settings again; the journal is
// gone then. The server must be read-only (super_read_only) and replicate from nobody.
//
// After an error the journal stays, and the server is not to take writes. The replay's channel and settings are taken back as far as the server answers; the
// next Run does what is left. Errors: those of NewPlan, *RefusedError, *ApplierError, *ResultError, ctx's, and those of the server's connection
// (mysqlx.IsUnreachable), after which Run can be called again.
func (r *Replayer) Run(ctx context.Context, a Archive, target Target) (Result, error) {
	dir, err := os.OpenRoot(r.DataDir)
	if err != nil {
		return Result{}, &RefusedError{Why: fmt.Sprintf("open the data directory: %v", err), Help: "give the server's data directory as this process sees it", Code: exitConfig}
	}
	defer dir.Close()
	n := &run{Replayer: r, archive: a, began: time.Now()}
	if err := n.examine(ctx, dir); err != nil {
		return Result{}, err
	}
	if err := n.prepare(ctx, target); err != nil {
		return Result{}, err
	}
	err = n.tidy(ctx)
	if err == nil && !n.plan.Missing.IsEmpty() {
		err = n.replay(ctx)
	}
	if err != nil {
		return Result{}, errors.Join(err, n.giveUp(ctx))
	}
	return n.finish(ctx)
}

// A run is one call of Run.
type run struct {
	*Replayer
	archive Archive
	began   time.Time
	place   *place
	facts   mysqlx.Facts
	channel bool // the channel may exist
	journal *Journal
	plan    *Plan
	result  Result
}

// examine refuses a server that is not fit. It changes nothing.
func (n *run) examine(ctx context.Context, dir *os.Root) (err error) {
	if n.facts, err = n.DB.Facts(ctx); err != nil {
		return err
	}
	relay, err := n.DB.ReplayFacts(ctx)
	if err != nil {
		return err
	}
	n.channel = relay.Exists
	refuse := func(code int, help, format string, args ...any) error {
		return &RefusedError{Why: fmt.Sprintf(format, args...), Help: help, Code: code}
	}
	switch {
	case n.facts.GTIDMode != "ON":
		return refuse(exitConfig, "set gtid_mode=ON and enforce_gtid_consistency=ON", "the server has gtid_mode %s", n.facts.GTIDMode)
	case !n.facts.SuperReadOnly:
		return refuse(exitRefused, "SET GLOBAL super_read_only = ON, or restore the backup again if somebody has written already", "the server takes writes")
	case len(relay.Running) > 0:
		return refuse(exitRefused, "STOP REPLICA first; a replica gets its transactions from its source", "the server replicates on channel %q", relay.Running[0])
	case len(relay.Filters) > 0:
		return refuse(exitConfig, "remove the replication filters: what they pass over would count as restored", "the server has a replication filter: %s", relay.Filters[0])
	case relay.StartsAlone:
		return refuse(exitConfig, "set skip_replica_start=ON (or relay_log_recovery=ON): after a crash it would pass over, or execute in the wrong order, what is in its relay logs",
			"the server would start replication by itself")
	}
	n.place, err = findPlace(dir, n.facts, relay)
	return err
}

// prepare finds what is to be done, and makes sure that it is known to whoever comes after us. Only the journal changes.
func (n *run) prepare(ctx context.Context, target Target) error {
	j, err := ReadJournal(n.Journal)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		j = &Journal{Target: target, Archive: n.Archive, Backup: n.Backup, Created: time.Now().UTC()}
	case err != nil:
		return &RefusedError{Why: err.Error(), Help: "the journal says up to where the data was to be brought: restore the backup again", Code: exitDataCorrupt}
	case !sameTarget(j.Target, target):
		return &RefusedError{
			Why:  fmt.Sprintf("a replay to %s is under way, not one to %s", j.Target, target),
			Help: "finish that one, or restore the backup again", Code: exitRefused,
		}
	}
	n.journal = j
	executed := n.facts.GTIDExecuted
	if j.Until.IsEmpty() {
		if n.plan, err = NewPlan(ctx, n.archive, Exactly(executed), j.Target); err != nil {
			return err
		}
		j.From, j.Until, j.Last = executed, n.plan.Until, n.plan.Last
		return j.write(n.Journal)
	}
	if extra := executed.Subtract(j.Until); !extra.IsEmpty() {
		return &ResultError{Extra: extra}
	}
	if lost := j.From.Subtract(executed); !lost.IsEmpty() {
		return &RefusedError{
			Why:  fmt.Sprintf("the server had executed %s when the replay began, and has not now: this is not the data that it began with", shorten(lost.String())),
			Help: "restore the backup again", Code: exitRefused,
		}
	}
	n.plan, err = remaining(n.archive, executed, j.Until, j.Target)
	return err
}

func sameTarget(a, b Target) bool {
	return a.Time.Equal(b.Time) && a.GTIDs.Equal(b.GTIDs) && a.Before.Equal(b.Before)
}

// tidy removes what an earlier run, or this one, has left on the server and in its directory. No batch is being written.
func (n *run) tidy(ctx context.Context) error {
	if err := n.forget(ctx); err != nil {
		return err
	}
	return n.place.clean()
}

// forget ends the channel.
func (n *run) forget(ctx context.Context) error {
	if !n.channel {
		return nil
	}
	if err := n.DB.ForgetReplay(ctx); err != nil {
		return err
	}
	n.channel = false
	return n.place.cleanRelayLogs()
}

// replay executes the plan: one batch is executed while the next one is written.
func (n *run) replay(ctx context.Context) error {
	if err := n.takeSettings(ctx, nil); err != nil {
		return err
	}
	b := batcher{archive: n.archive, dir: n.place.dir, owner: n.place.owner, limit: n.BatchBytes}
	if b.limit <= 0 {
		b.limit = DefaultBatchBytes
	}
	batches := make(chan batch)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(batches)
		return b.Run(ctx, n.plan.Steps, func(next batch) error {
			select {
			case batches <- next:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	})
	g.Go(func() error {
		for next := range batches {
			if err := n.execute(ctx, next); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return g.Wait()
}

// execute lets the server execute a batch.
func (n *run) execute(ctx context.Context, b batch) error {
	if err := n.avoidServerIDs(ctx, b.serverIDs); err != nil {
		return err
	}
	name, err := n.place.put(b.name)
	if err != nil {
		return err
	}
	n.channel = true // even if the answer is lost
	if err := n.DB.ConfigureReplay(ctx, name); err != nil {
		return err
	}
	if err := n.DB.StartReplay(ctx); err != nil {
		return n.whyStopped(ctx, err)
	}
	if err := n.await(ctx, b); err != nil {
		return err
	}
	if err := n.forget(ctx); err != nil {
		return err
	}
	n.result.Batches++
	n.result.Bytes += b.bytes
	if n.Progress != nil {
		if err := n.look(ctx); err != nil {
			return err
		}
	}
	return n.makeRoom(ctx)
}

// await waits until the server has executed a batch. A server that has read all of it, executes nothing and has not executed it, has passed over something.
func (n *run) await(ctx context.Context, b batch) error {
	idle := 0
	for {
		done, err := n.DB.WaitExecuted(ctx, b.gtids, waitFor)
		if done || err != nil {
			return err
		}
		if err := n.look(ctx); err != nil {
			return err
		}
		is, err := n.DB.ReplayIdle(ctx)
		if err != nil {
			return err
		}
		if idle++; !is {
			idle = 0
		}
		if idle < idleFor {
			continue
		}
		facts, err := n.DB.Facts(ctx)
		if err != nil {
			return err
		}
		if lacks := b.gtids.Subtract(facts.GTIDExecuted); !lacks.IsEmpty() {
			return &ResultError{Lacks: lacks}
		}
	}
}

// look finds out how far the applier is, and whether it still runs.
func (n *run) look(ctx context.Context) error {
	facts, err := n.DB.Facts(ctx)
	if err != nil {
		return err
	}
	if extra := facts.GTIDExecuted.Subtract(n.plan.Until); !extra.IsEmpty() {
		return &ResultError{Extra: extra}
	}
	if n.Progress != nil {
		left := n.plan.Missing.Subtract(facts.GTIDExecuted).Count()
		total := n.plan.Missing.Count()
		n.Progress(Progress{Total: total, Done: total - left, Until: n.plan.Until, Executed: facts.GTIDExecuted})
	}
	if !n.channel {
		return nil
	}
	return n.whyStopped(ctx, nil)
}

// whyStopped returns an *ApplierError if the applier does not run; otherwise err.
func (n *run) whyStopped(ctx context.Context, err error) error {
	status, ok, statusErr := n.DB.ReplayStatus(ctx)
	if statusErr != nil {
		return errors.Join(err, statusErr)
	}
	if ok && status.ApplierState == "ON" || !ok && err != nil {
		return err
	}
	if err != nil && status.ApplierError.Number == 0 {
		return err
	}
	facts, _ := n.DB.Facts(ctx) // of an error it is a detail
	return &ApplierError{status.ApplierError, facts.GTIDExecuted}
}

// makeRoom purges the binlogs that were written meanwhile.
func (n *run) makeRoom(ctx context.Context) error {
	if n.KeepBinlogs || n.result.BinlogsKept || !n.facts.LogBin {
		return nil
	}
	err := n.DB.PurgeBinlogs(ctx)
	if mysqlx.IsMissingPrivilege(err) {
		n.result.BinlogsKept = true
		return nil
	}
	return err
}

// giveUp takes back what Run has changed on the server, as far as it answers. What cannot be done, the next Run does.
func (n *run) giveUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
	defer cancel()
	err := n.tidy(ctx)
	if err == nil {
		err = n.restoreSettings(ctx)
	}
	if mysqlx.IsUnreachable(err) {
		return nil // the first error says it
	}
	return err
}

// finish proves the result and ends the replay.
func (n *run) finish(ctx context.Context) (Result, error) {
	if err := n.restoreSettings(ctx); err != nil {
		return Result{}, err
	}
	facts, err := n.DB.Facts(ctx)
	if err != nil {
		return Result{}, err
	}
	until := n.journal.Until
	lacks, extra := until.Subtract(facts.GTIDExecuted), facts.GTIDExecuted.Subtract(until)
	if !lacks.IsEmpty() || !extra.IsEmpty() {
		return Result{}, &ResultError{lacks, extra}
	}
	if n.result.Prepared, err = n.DB.PreparedTransactions(ctx); err != nil {
		return Result{}, err
	}
	if n.result.SleepingEvents, err = n.DB.SleepingEvents(ctx); err != nil {
		return Result{}, err
	}
	n.result.Target, n.result.Executed, n.result.Last = n.journal.Target, facts.GTIDExecuted, n.journal.Last
	n.result.Transactions, n.result.ClockWentBack = n.plan.Missing.Count(), n.plan.ClockWentBack
	if err := removeJournal(n.Journal); err != nil {
		return Result{}, err
	}
	n.result.Took = time.Since(n.began)
	return n.result, nil
}

func dirOf(path string) string { return filepath.Dir(path) }
