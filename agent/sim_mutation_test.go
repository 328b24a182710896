package agent

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var simMutations = flag.Int("sim.mutations", -1, "how many guards TestSimulationFindsMutations removes; -1: all")

// A simMutation removes one guard from the product's source.
type simMutation struct {
	guard string
	file  string // in the module
	old   string // found exactly once in it
	new   string
}

// simGuards are the guards, each with a way to remove it. One whose text has changed has to be looked up anew: the test says so.
var simGuards = []simMutation{
	{"an empty source waits for silent siblings", "agent/decide_empty.go", "case p.Kind != PeerAbsent:", "case false:"},
	{"an empty source does not start empty beside one that has data", "agent/decide_empty.go", "holders = append(holders, p)", "_ = p"},
	{"an empty source refuses siblings that have diverged, and copies the one that has everything", "agent/decide_empty.go",
		"best := mostAdvanced(all)", "best := all"},
	{"an empty source waits for what its donor has received and not executed", "agent/decide_empty.go", "if !h.Waiting.IsEmpty() {", "if false {"},
	{"what siblings said before they were asked does not count", "agent/history.go",
		"return a.Observed.Before(since) || a.Status.State == StateWaitingForMysqld", "return false"},
	{"the gate looks at siblings that are ahead", "agent/decide_source.go", "case best[0].Pod != own.Pod:", "case false:"},
	{"the gate stays closed when the set has diverged", "agent/decide_source.go", `case g.Diverged != "":`, "case false:"},
	{"the gate waits for silent siblings", "agent/decide_source.go", "if v.GateWaited {", "if true {"},
	{"with semi-synchronous replication it waits for ever", "agent/config.go", "if c.GatePatience == 0 && c.Durability != DurabilitySemisync {", "if c.GatePatience == 0 {"},
	{"a source that has not heard everybody gets a new server_uuid", "agent/decide_source.go", "case len(g.Unverified) > 0 &&", "case false &&"},
	{"a source that is behind catches up under another server_id", "agent/act.go", "return own | 1<<31", "return own"},
	{"what a source has received is executed before its channel is forgotten", "agent/decide_replica.go",
		"if v.Waiting.IsEmpty() || v.Role == RoleReplica && v.sourceTold() && v.Abroad.IsEmpty() {", "if true {"},
	{"what was received is executed where the source cannot be followed", "agent/decide_replica.go",
		`if !v.Waiting.IsEmpty() && c.ApplierState == "OFF" && c.ApplierError.Number == 0 {`, "if false && c.Channel == v.Held {"},
	{"the replication account is the cluster's own", "mysqlx/accounts.go", "return replicationPrefix + clusterID }", "return replicationPrefix + clusterID[:0] }"},
	{"a replica is read-only", "agent/decide_replica.go", "case !v.Mysqld.Facts.SuperReadOnly:", "case false:"},
	{"a server with data starts read-only", "agent/mysqlconf.go", `line("super_read_only = ON")`, `line("# nothing")`},
	{"a server that has data has its configuration before all else", "agent/decide.go", "if !v.ConfigGood {", "if false {"},
	{"errant transactions are found", "agent/decide_replica.go", "if !v.Lasting.IsEmpty() {", "if false {"},
	{"a surplus counts when several answers lack it", "agent/observe.go", "lastingTurns   = 3 ", "lastingTurns   = 1 "},
	{"an applier that fails at the same transaction has drifted", "agent/failures.go", "case e.Number == 0:", "case e.Number == 0:\n\t\t*f = failures{}"},
	{"purged binlogs are not waited for", "agent/decide_replica.go", "!lost.IsEmpty() {", "false {\n\t\t_ = lost"},
	{"a copy takes the place of data only if nothing is left behind", "agent/decide_switch.go", "!lost.IsEmpty() {", "false {"},
	{"agent init does not switch before that is known", "agent/decide_init.go", "c.Record.Replaces != nil && !begun {", "false {"},
	{"a first initialisation that was cut short is not taken for complete", "agent/decide_first.go", "case v.Mysqld.CutShort:", "case false:"},
	{"commits are acknowledged by a replica before the source opens", "agent/semisync.go", "return s.Known && s.Plugins && s.On != s.Wanted", "return false"},
	{"commits that nobody can acknowledge do not keep a replica from being cloned", "agent/semisync.go",
		"return s.Wanted && s.On && s.Clients == 0 && s.Giving }", "return false }"},
	{"a replica's relay logs outlive its server", "agent/mysqlconf.go", `line("relay_log_recovery = OFF")`, `line("relay_log_recovery = ON")`},
}

// TestSimulationFindsMutations removes one guard after the other, and sees the simulation fail: a guard that nothing depends on is
// not tested, or not needed.
func TestSimulationFindsMutations(t *testing.T) {
	if simRace || testing.Short() {
		t.Skip("builds the tests once for each guard")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	guards := simGuards
	if *simMutations >= 0 {
		guards = guards[:min(*simMutations, len(guards))]
	}
	slots := make(chan struct{}, 2) // what is built is large
	for _, m := range guards {
		t.Run(strings.ReplaceAll(m.guard, " ", "_"), func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			began := time.Now()
			out := m.run(t, root)
			if !strings.Contains(out, "replay: go test") {
				t.Errorf("the simulation does not notice that this guard is gone: %s\n%s", m.guard, out)
				return
			}
			_, story, _ := strings.Cut(out, "seed ")
			line, _, _ := strings.Cut(story, "\n")
			t.Logf("seed %s (%v)", line, time.Since(began).Round(time.Second))
		})
	}
}

// run builds the tests without the guard, runs the simulation, and returns what it says.
func (m simMutation) run(t *testing.T, root string) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%s has %d times the text of this guard: %s", m.file, n, m.old)
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	mutated := write("mutated.go", []byte(strings.Replace(string(source), m.old, m.new, 1)))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, m.file): mutated}})
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "simulation")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", write("overlay.json", overlay), "-o", binary, "./agent")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build without the guard: %v\n%s", err, out)
	}
	run := exec.CommandContext(t.Context(), binary, "-test.run", "^TestSimulation$", fmt.Sprintf("-sim.histories=%d", *simHistories))
	run.Dir = filepath.Join(root, "agent")
	out, _ := run.CombinedOutput() // it has to fail, and to say how
	return string(out)
}
