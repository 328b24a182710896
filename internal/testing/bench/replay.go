package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ordinal/internal/mysqld"
	"ordinal/mysqlx"
)

// Names of those who execute what was written after a backup.
const (
	nameReplay       = "agent restore --to-end"
	namePiped        = "mysqlbinlog | mysql"
	namePipedRelaxed = "mysqlbinlog | mysql, relaxed"
)

// saysReplayed is what agent restore logs when it has executed the archive.
const saysReplayed = "replayed the archive"

// relaxed are options of a server whose commits wait for no disk.
var relaxed = []string{"--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2"}

// A replaying is a backup, and the same transactions after it: in the archive, and in the donor's binlogs.
type replaying struct {
	*site
	store        string
	binlogs      []string // paths
	executed     mysqlx.GTIDSet
	transactions int
}

// replayInTurns lets the donor archive what many sessions write after a backup, and lets that be executed on what was restored.
func (s *site) replayInTurns(ctx context.Context) (found []trials, err error) {
	r, err := s.archive(ctx)
	if err != nil {
		return nil, err
	}
	list := []task{{nameReplay, r.byAgent}}
	if missing := s.missing("mysqlbinlog", "mysql"); missing != "" {
		s.leaveOut("%s: there is no %s", namePiped, missing)
	} else {
		list = append(list,
			task{namePiped, func(ctx context.Context) (trial, error) { return r.piped(ctx, nil) }},
			task{namePipedRelaxed, func(ctx context.Context) (trial, error) { return r.piped(ctx, relaxed) }})
	}
	for round := range s.rounds {
		if err := s.takeTurns(ctx, round, list, &found); err != nil {
			return nil, err
		}
	}
	return found, s.use(ctx, asItIs) // which archives nothing
}

// archive makes a backup, and writes what is to be executed after it.
func (s *site) archive(ctx context.Context) (*replaying, error) {
	r := &replaying{site: s, store: s.kept("archive")}
	if err := s.clear(ctx); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(r.store, 0o750); err != nil {
		return nil, err
	}
	if err := s.use(ctx, asItIs.with("archiving", "--store=file://"+r.store)); err != nil {
		return nil, err
	}
	if err := s.purge(ctx); err != nil {
		return nil, err
	}
	if _, err := (agentKeeper{site: s, store: r.store}).make(ctx, "--checksums=0s", "--reread=sizes"); err != nil {
		return nil, err
	}
	before, err := s.set.GTIDExecuted(ctx, donor)
	if err != nil {
		return nil, err
	}
	s.say("%d transactions to be archived", s.transactions)
	if err := s.writeTransactions(ctx, s.transactions); err != nil {
		return nil, err
	}
	if r.executed, err = s.set.GTIDExecuted(ctx, donor); err != nil {
		return nil, err
	}
	r.transactions = int(r.executed.Subtract(before).Count())
	if r.binlogs, err = s.closedBinlogs(ctx); err != nil {
		return nil, err
	}
	return r, s.until(ctx, "everything to be archived", func() (bool, error) {
		status, err := s.set.Status(ctx, donor)
		if err != nil || status.Archive == nil {
			return false, nil // not yet
		}
		archived, err := mysqlx.ParseGTIDSet(status.Archive.Archived)
		return archived.Contains(r.executed), err
	})
}

// closedBinlogs begins another binlog and returns the paths of all before it.
func (s *site) closedBinlogs(ctx context.Context) (paths []string, err error) {
	if err := s.donorExec(ctx, "FLUSH BINARY LOGS"); err != nil {
		return nil, err
	}
	rows, err := s.set.Query(ctx, donor, "SHOW BINARY LOGS")
	if err != nil {
		return nil, err
	}
	for _, row := range rows[:len(rows)-1] {
		paths = append(paths, filepath.Join(s.files.dir, row[0]))
	}
	return paths, nil
}

// byAgent restores the backup and lets a server that the agent starts execute the archive. The time is what the agent says of that; CPU
// is what the whole takes more than a restore alone, the server's start and end included.
func (r *replaying) byAgent(ctx context.Context) (t trial, err error) {
	program, err := r.mysqldProgram()
	if err != nil {
		return t, err
	}
	alone, err := r.command(ctx, r.store, "restore", "--into="+r.restored())
	if err != nil {
		return t, err
	}
	if err := r.calm(); err != nil {
		return t, err
	}
	both, err := r.command(ctx, r.store, "restore", "--to-end", "--into="+r.restored(), "--mysqld="+program)
	if err != nil {
		return t, err
	}
	if t.Seconds, t.Transactions, err = parseReplayed(lastEntry(both.log, saysReplayed)); err != nil {
		return t, err
	}
	t.CPU.Programs = (both.cpu - alone.cpu).Seconds()
	if t.Transactions < r.transactions {
		err = fmt.Errorf("the agent executed %d transactions, want %d", t.Transactions, r.transactions)
	}
	return t, err
}

func parseReplayed(line []byte) (seconds float64, transactions int, err error) {
	var entry struct {
		Transactions int    `json:"transactions"`
		Took         string `json:"took"`
	}
	err = json.Unmarshal(line, &entry)
	var took time.Duration
	if err == nil {
		took, err = time.ParseDuration(entry.Took)
	}
	if err == nil && (took <= 0 || entry.Transactions <= 0) {
		err = errors.New("no time, or no transactions")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read what agent restore logs of its replay: %w", err)
	}
	return took.Seconds(), entry.Transactions, nil
}

// piped restores the backup and executes the binlogs as people do, on a server as the one that the agent starts, but for the options.
func (r *replaying) piped(ctx context.Context, options []string) (t trial, err error) {
	if _, err := r.command(ctx, r.store, "restore", "--into="+r.restored()); err != nil {
		return t, err
	}
	err = r.serve(ctx, options, func(ctx context.Context, server *mysqld.Server) error {
		from, to := r.distribution.Tool("mysqlbinlog", append([]string{"--no-defaults"}, r.binlogs...)...), mysqlTool(r.distribution, server)
		begun := time.Now()
		if err := pipe(ctx, from, to); err != nil {
			return err
		}
		t.Seconds, t.Transactions = time.Since(begun).Seconds(), r.transactions
		used, err := usageOf(server.PID()) // since its start
		if err != nil {
			return err
		}
		t.CPU = spent{Server: used.cpu.Seconds(), Programs: (cpuOf(from) + cpuOf(to)).Seconds()}
		facts, err := server.DB().Facts(ctx)
		if err == nil && !facts.GTIDExecuted.Equal(r.executed) {
			err = fmt.Errorf("the server has executed %v, want %v", facts.GTIDExecuted, r.executed)
		}
		return err
	})
	return t, err
}
