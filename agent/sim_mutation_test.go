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

var simMutations = flag.Int("sim.mutations", 4, "how many guards TestSimulationFindsMutations removes; -1: all, as make mutations does")

// A simGuard is one guard of the product, with a way to remove it.
type simGuard struct {
	guard string
	edits []simEdit
}

// A simEdit changes a text that is found exactly once in a file of the module. One that has changed has to be looked up anew: the test
// says so.
type simEdit struct{ file, old, new string }

func simGuards() []simGuard {
	one := func(guard, file, old, new string) simGuard { return simGuard{guard, []simEdit{{file, old, new}}} }
	const (
		config, empty, first, volume, replica = "agent/config.go", "agent/decide_empty.go", "agent/decide_first.go", "agent/decide_init.go", "agent/decide_replica.go"
		source, change, failed, history       = "agent/decide_source.go", "agent/decide_switch.go", "agent/failures.go", "agent/history.go"
		file, semisync                        = "agent/mysqlconf.go", "agent/semisync.go"
	)
	return []simGuard{
		one("an empty source waits for silent siblings", empty, "case p.Kind != PeerAbsent:", "case false:"),
		one("an empty source does not start empty beside one that has data", empty, "holders = append(holders, p)", "_ = p"),
		one("an empty source copies who has everything, and refuses siblings that have diverged", empty, "best := mostAdvanced(all)", "best := all"),
		one("an empty source waits for what its donor has received and not executed", empty, "if !h.Waiting.IsEmpty() {", "if false {"),
		one("what siblings said before they were asked does not count", history,
			"return a.Observed.Before(since) || a.Status.State == StateWaitingForMysqld", "return false"),
		one("the gate looks at siblings that are ahead", source, "case best[0].Pod != own.Pod:", "case false:"),
		one("the gate stays closed when the set has diverged", source, `case g.Diverged != "":`, "case false:"),
		one("the gate waits for silent siblings", source, "if v.GateWaited {", "if true {"),
		one("with semi-synchronous replication it waits for ever", config, "if c.GatePatience == 0 && c.Durability != DurabilitySemisync {", "if c.GatePatience == 0 {"),
		one("a source that has not heard everybody gets a new server_uuid", source, "case len(g.Unverified) > 0 &&", "case false &&"),
		one("a source that is behind catches up under another server_id", "agent/act.go", "return own | 1<<31", "return own"),
		one("what was received is executed before a channel is forgotten", replica,
			"if v.Waiting.IsEmpty() || v.Role == RoleReplica && v.sourceTold() && v.Abroad.IsEmpty() {", "if true {"),
		one("what was received is executed where the source cannot be followed", replica,
			`if !v.Waiting.IsEmpty() && c.ApplierState == "OFF" && c.ApplierError.Number == 0 {`, "if false && c.Channel == v.Held {"),
		one("the replication account is the cluster's own", "mysqlx/accounts.go", "return replicationPrefix + clusterID }", "return replicationPrefix + clusterID[:0] }"),
		one("a replica is read-only", replica, "case !v.Mysqld.Facts.SuperReadOnly:", "case false:"),
		one("a server with data starts read-only", file, `line("super_read_only = ON")`, `line("# nothing")`),
		one("a server that has data gets its configuration", "agent/decide.go", "if !v.ConfigGood {", "if false {"),
		one("errant transactions are found", replica, "if !v.Lasting.IsEmpty() {", "if false {"),
		one("an applier that fails at the same transaction has drifted", failed, "case e.Number == 0:", "case e.Number == 0:\n\t\t*f = failures{}"),
		{"purged binlogs are not waited for", []simEdit{
			{replica, "!lost.IsEmpty() {", "false {\n\t\t_ = lost"},            // beforehand, by the sets
			{failed, "c.ReceiverError.Class() == mysqlx.ClassPurged", "false"}, // and as the source said it
		}},
		one("a copy takes the place of data only if nothing is left behind", change, "!lost.IsEmpty() {", "false {"),
		one("agent init does not switch before that is known", volume, "c.Record.Replaces != nil && !begun {", "false {"),
		one("a first initialisation that was cut short is not taken for complete", first, "case v.Mysqld.CutShort:", "case false:"),
		one("commits are acknowledged by a replica before the source opens", semisync, "return s.Known && s.Plugins && s.On != s.Wanted", "return false"),
		one("commits that nobody can acknowledge do not keep a replica from being cloned", semisync,
			"return s.Wanted && s.On && s.Clients == 0 && s.Giving }", "return false }"),
		one("a replica's relay logs outlive its server", file, `line("relay_log_recovery = OFF")`, `line("relay_log_recovery = ON")`),
	}
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
	guards := simGuards()
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
			var seed uint64
			if _, err := fmt.Sscan(line, &seed); err != nil {
				t.Fatalf("no seed in %q: %v", line, err)
			}
			if w := simulate(seed, nil, false); w.failure != nil {
				t.Errorf("with the guard the same history fails as well: %v", w.failure)
			}
			t.Logf("seed %s (%v)", line, time.Since(began).Round(time.Second))
		})
	}
}

// run builds the tests without the guard, runs the simulation, and returns what it says.
func (g simGuard) run(t *testing.T, root string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	replace := map[string]string{}
	for i, e := range g.edits {
		source, err := os.ReadFile(filepath.Join(root, e.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), e.old); n != 1 {
			t.Fatalf("%s has %d times the text of this guard: %s", e.file, n, e.old)
		}
		replace[filepath.Join(root, e.file)] = write(fmt.Sprintf("mutated%d.go", i), []byte(strings.Replace(string(source), e.old, e.new, 1)))
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
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
