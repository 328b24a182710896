package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
)

// What the test of killed backups is made of: go test ./internal/testing/e2e -run KillsOfBackups -e2e.backupkills=50
var (
	backupKills = flag.Int("e2e.backupkills", 6, "number of backups in which something is killed")
	backupSeed  = flag.Uint64("e2e.backupseed", 0, "replays the moments of a run, as far as time can be replayed; 0: any")
	backupClean = flag.Bool("e2e.backupclean", false, "at the end, also see that what the dead jobs have left is removed: it is watched for some minutes before")
)

// A backupVictim is killed while a backup is made.
type backupVictim string

// The job, the donor's programs, and the store.
const (
	killJob    backupVictim = "the job"
	killAgent  backupVictim = "the donor's agent"
	killServer backupVictim = "the donor's mysqld"
	killStore  backupVictim = "the store"
)

var backupVictims = []backupVictim{killJob, killAgent, killServer, killStore}

// TestKillsOfBackups: backups under load, into a directory or an S3 server, and each time the job, the donor's agent, the donor's mysqld or the server of
// the store is killed at some moment. There is never a manifest of a backup that cannot be restored, a job that fails leaves none, and the next run succeeds: no
// donor holds anything for a dead job that is in its way.
func TestKillsOfBackups(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, time.Duration(*backupKills)*time.Minute+8*time.Minute)
	seed := *backupSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-e2e.backupseed=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop"})
	server := newS3Server(t)
	directory := t.TempDir()
	k := &killedBackups{t: t, set: s, server: server, intoDir: newTool(t, s, "file://"+directory), intoS3: newTool(t, s, server.url("shop")).with(server.env()...)}
	must(t, s.WaitReady(ctx))
	_, stop := startLoad(ctx, t, s, load.Options{Connections: 1, Pause: 50 * time.Millisecond})
	k.whole = map[backupVictim]int{}
	for _, v := range []backupVictim{killJob, killStore} {
		began := k.reached(v)
		if o := k.job(v).wait(ctx); o.code != 0 {
			t.Fatalf("a backup in which nothing is killed: exit code %d\n%s", o.code, o.stderr)
		}
		k.whole[v] = k.reached(v) - began
	}
	k.whole[killAgent], k.whole[killServer] = k.whole[killJob], k.whole[killJob]
	for run := range *backupKills {
		v := backupVictims[run%len(backupVictims)]
		m := moment{random.IntN(k.whole[v] + 1), time.Duration(random.Int64N(int64(100 * time.Millisecond))), time.Duration(random.Int64N(int64(3 * time.Second)))}
		t.Logf("%d: %s", run, k.once(ctx, v, m))
	}
	stop()
	mustBeEqual(ctx, t, s)
	if *backupClean {
		k.mustClean(ctx, directory)
	}
	k.intoDir.mustHaveLeftNothing()
	k.intoS3.mustHaveLeftNothing()
}

// killedBackups are what a test makes its backups with.
type killedBackups struct {
	t       *testing.T
	set     *localset.Set
	server  *s3Server
	intoDir tool
	intoS3  tool
	whole   map[backupVictim]int // how far it goes in a backup in which nothing is killed, see reached
}

// A moment is when something is killed: so far, see reached, and a while later. A store is away for some time then.
type moment struct {
	reached    int
	then, away time.Duration
}

// reached is how much has happened in a victim's store: objects in a directory, requests to a server.
func (k *killedBackups) reached(v backupVictim) int {
	k.t.Helper()
	if v == killStore {
		return k.server.asked()
	}
	objects, err := filepath.Glob(filepath.Join(strings.TrimPrefix(k.intoDir.store, "file://"), "backups", "*", "segments", "*"))
	must(k.t, err)
	return len(objects)
}

func (k *killedBackups) tool(v backupVictim) tool {
	if v == killStore {
		return k.intoS3
	}
	return k.intoDir
}

// job starts a backup in many small segments, so that a kill meets each part of it.
func (k *killedBackups) job(v backupVictim) *program {
	return k.tool(v).start("backup", "--segment-size=1MiB", "--checksums=2s", "--wait=1m")
}

// once makes one backup, kills the victim at some moment of it, and makes the next one. It returns what has happened.
func (k *killedBackups) once(ctx context.Context, v backupVictim, m moment) string {
	k.t.Helper()
	before, began := k.backups(v), k.reached(v)
	job := k.job(v)
	hit := k.wait(job, func() bool { return k.reached(v)-began >= m.reached }, m.then) && k.kill(ctx, v, job, m.away)
	o := job.wait(ctx)
	after := k.backups(v)
	maps.DeleteFunc(after, func(id string, _ bool) bool { _, old := before[id]; return old })

	complete := 0
	for id, finished := range after {
		if finished {
			complete++
			k.mustVerify(ctx, v, id)
		}
	}
	switch {
	case o.code == 0 && complete != 1, o.code != 0 && v != killJob && complete != 0:
		k.t.Errorf("kill -9 of %s: exit code %d, and %v are there (true: with a manifest)\n%s", v, o.code, after, tailOf(o.stderr, 2000))
	case o.code > 0 && !slices.ContainsFunc(o.said(), func(line string) bool { return strings.HasPrefix(line, "agent: ") }):
		k.t.Errorf("kill -9 of %s: exit code %d without a word\n%s", v, o.code, tailOf(o.stderr, 2000))
	}
	again := time.Now()
	k.mustSucceed(ctx, v)
	text := fmt.Sprintf("kill -9 of %s at %d of %d and %v", v, m.reached, k.whole[v], m.then.Round(time.Millisecond))
	if !hit {
		text += ", when nothing of it ran"
	}
	if said := o.said(); len(said) > 0 {
		text += fmt.Sprintf(" (%q)", said[0])
	}
	return fmt.Sprintf("%s: exit code %d, %d with and %d without a manifest; the next one took %v", text, o.code, complete, len(after)-complete,
		time.Since(again).Round(time.Millisecond))
}

// wait waits until ok and a while longer. It reports whether the job was still running then.
func (k *killedBackups) wait(job *program, ok func() bool, then time.Duration) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-job.done:
			return false
		}
	}
	timer := time.NewTimer(then)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-job.done:
		return false
	}
}

// kill kills the victim and reports whether there was one. A store is back after a while.
func (k *killedBackups) kill(ctx context.Context, v backupVictim, job *program, away time.Duration) bool {
	switch v {
	case killAgent:
		return k.set.Kill9(1, localset.Agent)
	case killServer:
		return k.set.Kill9(1, localset.Mysqld)
	case killStore:
		k.server.kill9()
		back := time.NewTimer(away)
		defer back.Stop()
		select {
		case <-back.C:
		case <-ctx.Done():
		}
		k.server.start()
		return true
	}
	return job.cmd.Process.Kill() == nil
}

// mustSucceed makes a backup in which nothing is killed, and checks it. The set may still be coming back from what was killed before.
func (k *killedBackups) mustSucceed(ctx context.Context, v backupVictim) {
	k.t.Helper()
	must(k.t, k.set.WaitReady(ctx))
	o := k.job(v).wait(ctx)
	var r backupResult
	if err := json.Unmarshal([]byte(o.stdout), &r); o.code != 0 || err != nil {
		k.t.Fatalf("after kill -9 of %s the next backup fails with %d (%v)\n%s", v, o.code, err, tailOf(o.stderr, 4000))
	}
	if r.Donor != "mysql-1" {
		k.t.Errorf("the backup is from %s, want the replica", r.Donor)
	}
	k.mustVerify(ctx, v, r.ID)
}

func (k *killedBackups) mustVerify(ctx context.Context, v backupVictim, id string) {
	k.t.Helper()
	if o := k.tool(v).run(ctx, "verify", id); o.code != 0 {
		k.t.Errorf("kill -9 of %s: %s has a manifest and cannot be restored: exit code %d\n%s", v, id, o.code, o.stderr)
	}
}

// backups returns the ids of all that is in the victim's store, and whether it has a manifest.
func (k *killedBackups) backups(v backupVictim) map[string]bool {
	k.t.Helper()
	all := map[string]bool{}
	for _, name := range objectNames(k.t, k.tool(v).store, "backups/") {
		id, rest, _ := strings.Cut(strings.TrimPrefix(name, "backups/"), "/")
		all[id] = all[id] || rest == "manifest.json"
	}
	return all
}

// mustClean makes what dead jobs have left look old, and wants the next backup to remove it, and nothing else.
func (k *killedBackups) mustClean(ctx context.Context, dir string) {
	k.t.Helper()
	before := k.backups(killJob)
	old := time.Now().Add(-2 * time.Hour)
	unfinished := 0
	for id, finished := range before {
		if finished {
			continue
		}
		unfinished++
		must(k.t, filepath.WalkDir(filepath.Join(dir, "backups", id), func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Chtimes(path, old, old)
		}))
	}
	k.mustSucceed(ctx, killJob)
	after := k.backups(killJob)
	for id, finished := range before {
		if _, there := after[id]; there != finished {
			k.t.Errorf("backup %s with a manifest: %v; there after the next run: %v", id, finished, there)
		}
	}
	k.t.Logf("%d unfinished backups of %d were removed", unfinished, len(before))
}
