package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"ordinal/backup"
)

func TestBackupResult(t *testing.T) {
	began := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	m := &backup.Manifest{
		ID: "20261121T120000Z-00000001", Cluster: "c0ffee", Set: "db", Created: began, Finished: began.Add(10 * time.Second), Bytes: 5e9, StoredBytes: 1e9,
		Donor: backup.Donor{Pod: "db-2", Role: "replica"}, Segments: make([]backup.Segment, 7), Encryption: &backup.Encryption{},
		GTIDAtLeast: "5b2a1c3e-e5b2-11f1-927f-02fc00000001:1-5", GTIDAtMost: "5b2a1c3e-e5b2-11f1-927f-02fc00000001:1-9",
	}
	for _, tt := range []struct {
		name string
		edit func(m *backup.Manifest)
		took time.Duration
		want func(r backupResult) bool
	}{
		{"waited for a donor", func(*backup.Manifest) {}, time.Minute, func(r backupResult) bool {
			return r.MBPerSecond == 500 && r.Seconds == 60 && r.Segments == 7 && r.Encrypted && r.Donor == "db-2" && r.Role == "replica"
		}},
		{"took less than a second", func(m *backup.Manifest) { m.Finished = m.Created }, 250 * time.Millisecond, func(r backupResult) bool { return r.MBPerSecond == 20000 }},
		{"no time at all", func(m *backup.Manifest) { m.Finished = m.Created }, 0, func(r backupResult) bool { return r.MBPerSecond == 0 && !math.IsInf(r.MBPerSecond, 0) }},
		{"not known exactly", func(*backup.Manifest) {}, time.Minute, func(r backupResult) bool { return r.GTIDExecuted == "" && r.GTIDAtLeast == m.GTIDAtLeast }},
		{"between two that are the same", func(m *backup.Manifest) { m.GTIDAtMost = "5B2A1C3E-E5B2-11F1-927F-02FC00000001:1-3:4-5" }, time.Minute,
			func(r backupResult) bool { return r.GTIDExecuted == m.GTIDAtLeast }},
		{"not known at all", func(m *backup.Manifest) { m.GTIDAtLeast, m.GTIDAtMost = "", "" }, time.Minute, func(r backupResult) bool { return r.GTIDExecuted == "" }},
		{"rubbish", func(m *backup.Manifest) { m.GTIDAtLeast, m.GTIDAtMost = "x", "x" }, time.Minute, func(r backupResult) bool { return r.GTIDExecuted == "" }},
	} {
		edited := *m
		tt.edit(&edited)
		r := newBackupResult(&edited, "file:///backups", tt.took)
		if text, err := json.Marshal(r); err != nil || !tt.want(r) {
			t.Errorf("%s: %s, %v", tt.name, text, err)
		}
	}
}

// What is logged as a warning is part of the result: each once, in one line, fit for a terminal, and not without end.
func TestWarnings(t *testing.T) {
	var out strings.Builder
	log, err := newLogger(&out, "error", "json") // which shows none of them
	if err != nil {
		t.Fatal(err)
	}
	var heard warnings
	if got := heard.list(); got == nil || len(got) != 0 {
		t.Errorf("list() of nothing = %#v", got)
	}
	log = heard.listenTo(log)
	log.Info("no warning")
	named := log.With(zap.String("donor", "db-1"))
	named.Warn("the backup lacks something", zap.String("what", "table\nshop.log\x1b[31m"))
	named.Warn("the backup lacks something", zap.String("what", "table\nshop.log\x1b[31m"))
	log.Error("worse")
	if want := []string{"the backup lacks something: donor=db-1, what=table?shop.log?[31m", "worse"}; !slices.Equal(heard.list(), want) {
		t.Errorf("list() = %q, want %q", heard.list(), want)
	}
	if lines := strings.Count(out.String(), "\n"); lines != 1 || !strings.Contains(out.String(), "worse") {
		t.Errorf("logged %q", out.String())
	}
	for i := range 100 {
		log.Warn(fmt.Sprintf("%d %s", i, strings.Repeat("x", 10_000)))
	}
	got := heard.list()
	if len(got) != maxWarnings+1 || got[maxWarnings] != "and 82 more: see the log" {
		t.Errorf("%d warnings, the last %q", len(got), got[len(got)-1])
	}
	for _, text := range got {
		if len(text) > maxWarning+10 {
			t.Errorf("a warning has %d bytes", len(text))
		}
	}
}

func TestCommands(t *testing.T) {
	for c, want := range map[commands]string{
		pods: "init, run, doctor", cmdInit: "init", pods | setTools: "init, run, doctor, status, plan, backup", pods | cmdBackup | contentTools: "init, run, doctor, backup, verify, restore, binlog",
		storeTools: "backups, verify, restore, binlog, archive", cmdVolume: "quarantine, rebuild, hold, release", 0: "",
	} {
		if got := c.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}
