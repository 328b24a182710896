package main

// backups are backups and what became of them, all contenders' runs, one per round.
type backups struct {
	Backup  []trials `json:"backup"`
	Restore []trials `json:"restore"` // with agent verify, which only reads
	Replay  []trials `json:"replay"`
}

// trials are all runs of a contender.
type trials struct {
	Name string  `json:"name"`
	Runs []trial `json:"runs"`
}

// trial is one backup, restore or replay.
type trial struct {
	Bytes        int64   `json:"bytes"`                  // of the donor's data files: what rates refer to, whatever is stored
	Stored       int64   `json:"stored_bytes,omitempty"` // of a backup
	Transactions int     `json:"transactions,omitempty"` // of a replay
	Seconds      float64 `json:"seconds"`                // of the command; what it has made is durable then
	Ready        float64 `json:"ready_seconds,omitempty"`
	CPU          spent   `json:"cpu_seconds"`
	HWM          int64   `json:"agent_hwm_bytes,omitempty"`
}

// spent is seconds of CPU.
type spent struct {
	Server   float64 `json:"mysqld,omitempty"`  // the donor's, or the restored one; of a replay by the agent it is with the programs
	Sidecar  float64 `json:"sidecar,omitempty"` // the donor's
	Programs float64 `json:"programs"`          // that were called
}

func (s spent) sum() float64 { return s.Server + s.Sidecar + s.Programs }

// rate is in MB/s.
func (t trial) rate() float64 { return float64(t.Bytes) / 1e6 / t.Seconds }

// readyRate is the rate until a server answers that has the data.
func (t trial) readyRate() float64 { return float64(t.Bytes) / 1e6 / t.Ready }

// tps is the transactions per second of a replay.
func (t trial) tps() float64 { return float64(t.Transactions) / t.Seconds }

// runsOf returns the runs of a contender, nil if it did not run.
func runsOf(list []trials, name string) []trial {
	for _, t := range list {
		if t.Name == name {
			return t.Runs
		}
	}
	return nil
}

// backupAims holds the agent's commands against the aims for backups.
func (f *found) backupAims() (list []aim) {
	b := f.Backups
	against := func(what string, wanted float64, all []trials, ours, theirs string, figure func(trial) float64) {
		list = append(list, aim{what: what, where: f.FileSystem, wanted: wanted, found: ratios(runsOf(all, ours), runsOf(all, theirs), figure)})
	}
	against("restore until a server answers / "+nameLoad, aimLoad, b.Restore, nameRestore, nameLoad, trial.readyRate)
	against("restore / "+nameRawBack, aimRaw, b.Restore, nameRestore, nameRawBack, trial.rate)
	against("backup, no checks after / "+nameRaw, aimRaw, b.Backup, nameBareBackup, nameRaw, trial.rate)
	against("backup with all its checks / "+nameRaw, aimRaw, b.Backup, nameBackup, nameRaw, trial.rate)
	against("replayed transactions/s / "+namePiped, aimReplay, b.Replay, nameReplay, namePiped, trial.tps)
	return list
}
