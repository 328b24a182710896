package main

import (
	"fmt"
	"strings"
)

// backupTables are what was found of backups, the aims first.
func (r *result) backupTables() (list []table) {
	var aims []aim
	small := false
	for _, s := range r.Sites {
		if b := s.Backups; b != nil {
			aims, list = append(aims, s.backupAims()...), append(list, s.backupTables()...)
			small = small || len(b.Backup[0].Runs) > 0 && b.Backup[0].Runs[0].Bytes < aimedSize
		}
	}
	if len(list) == 0 {
		return nil
	}
	first := aimsTable("Aims: backups", aims)
	if small {
		first.notes = append(first.notes, smallNote())
	}
	return append([]table{first}, list...)
}

// backupTables are those of one place, where there were backups.
func (f *found) backupTables() []table {
	b := f.Backups
	return []table{
		ratesTable("Backups on "+f.where(), b.Backup, nameDump, nameRaw),
		ratesTable("Restores on "+f.where(), b.Restore, nameLoad, nameRawBack),
		spentTable("CPU seconds per GB of backups and restores on "+f.where(), append(b.Backup[:len(b.Backup):len(b.Backup)], b.Restore...)),
		replayTable("Replays on "+f.where(), b.Replay),
	}
}

// ratesTable has a line per contender, with ratios to the dump's and the raw copy's of the same round.
func ratesTable(title string, list []trials, dump, raw string) table {
	t := table{title: title, head: []string{"", "MB/s", "min … max", "/ " + dump, "/ " + raw, "s", "until a server answers, s", "stored, GB", "agent's memory, MiB"}}
	for _, c := range list {
		rate := spreadOf(c.Runs, trial.rate)
		to := func(name string) string {
			return dash("%.2f", ratios(c.Runs, runsOf(list, name), trial.rate).median)
		}
		t.add(c.Name, fmt.Sprintf("%.0f", rate.median), fmt.Sprintf("%.0f … %.0f", rate.min, rate.max), to(dump), to(raw),
			seconds(median(c.Runs, func(r trial) float64 { return r.Seconds })), dash("%.1f", median(c.Runs, func(r trial) float64 { return r.Ready })),
			dash("%.2f", median(c.Runs, func(r trial) float64 { return float64(r.Stored) / 1e9 })),
			mebibytes(int64(median(c.Runs, func(r trial) float64 { return float64(r.HWM) }))))
	}
	if len(list) > 0 && len(list[0].Runs) > 0 {
		runs := list[0].Runs
		t.notes = append(t.notes, fmt.Sprintf("%.2f GB of data files, which all rates refer to; rounds: %d, of which these are the medians; ratios are of one round.",
			float64(runs[0].Bytes)/1e9, len(runs)))
	}
	return t
}

func spentTable(title string, list []trials) table {
	t := table{title: title, head: []string{"", "mysqld", "donor's sidecar", "programs", "sum"}}
	for _, c := range list {
		perGB := func(seconds func(spent) float64) string {
			return dash("%.2f", median(c.Runs, func(r trial) float64 { return seconds(r.CPU) / (float64(r.Bytes) / 1e9) }))
		}
		t.add(c.Name, perGB(func(s spent) float64 { return s.Server }), perGB(func(s spent) float64 { return s.Sidecar }),
			perGB(func(s spent) float64 { return s.Programs }), perGB(spent.sum))
	}
	return t
}

func replayTable(title string, list []trials) table {
	t := table{title: title, head: []string{"", "transactions/s", "min … max", "/ " + namePiped, "min … max", "s", "CPU, ms per transaction"}}
	base := runsOf(list, namePiped)
	for _, c := range list {
		tps, ratio := spreadOf(c.Runs, trial.tps), ratios(c.Runs, base, trial.tps)
		t.add(c.Name, fmt.Sprintf("%.0f", tps.median), fmt.Sprintf("%.0f … %.0f", tps.min, tps.max), dash("%.2f", ratio.median),
			fmt.Sprintf("%.2f … %.2f", ratio.min, ratio.max), seconds(median(c.Runs, func(r trial) float64 { return r.Seconds })),
			dash("%.2f", median(c.Runs, func(r trial) float64 { return 1000 * r.CPU.sum() / float64(r.Transactions) })))
	}
	if len(base) > 0 {
		t.notes = append(t.notes, fmt.Sprintf("%d transactions of %d sessions, on a restored backup; CPU of all processes. Relaxed: the server's commits wait for no disk, %s.",
			base[0].Transactions, writers, strings.Join(relaxed, " ")))
	}
	return t
}
