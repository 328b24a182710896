package e2e

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
)

// TestRunningSet is one set of two for everything that needs a set and leaves it as it was. The order matters: what ends
// programs comes last.
func TestRunningSet(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 4*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop"})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	must(t, s.WaitConverged(ctx))

	t.Run("wrong peers", func(t *testing.T) { wrongPeers(ctx, t, s) })
	t.Run("volume in use", func(t *testing.T) { volumeInUse(ctx, t, s) })
	t.Run("status", func(t *testing.T) { statusOfSet(ctx, t, s) })
	t.Run("third pod", func(t *testing.T) { thirdPod(ctx, t, s) })
	t.Run("signals to agent run", func(t *testing.T) { signalsToRun(ctx, t, s) })
	mustBeEqual(ctx, t, s)
}

// wrongPeers: pods that must not get a copy are told so within seconds, and the donor has not done anything for them.
func wrongPeers(ctx context.Context, t *testing.T, s *localset.Set) {
	sessions := func() int { return strings.Count(s.LogTail(1, localset.Agent, 1<<20), "clone session began") }
	before := sessions()
	for _, tt := range []struct {
		name, pod, secret string
		what, hint        string
	}{
		{"another cluster's secret", "mysql-2", newSecret(t, goodSecret), `clone from mysql-1: the peer does not hold this cluster's secret`, `same cluster secret`},
		{"another set with the same secret", "other-2", s.SecretFile(), `clone from other-1: the peer is "mysql-1", not "other-1"`, `--peer-host.*--pod-name`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newHandPod(t, tt.pod, hostsOf(s), tt.secret)
			p.lockOnce()
			untouched := listing(t, p.volume, p.conf)
			o := p.run(ctx, "init")
			o.mustRefuse(t, 78, tt.what, tt.hint)
			mustBeUntouched(t, untouched, p.volume, p.conf)
			if o.took > 5*time.Second {
				t.Errorf("it took %v", o.took)
			}
		})
	}
	if now := sessions(); now != before {
		t.Errorf("the donor began %d clone sessions", now-before)
	}
	must(t, s.WaitReady(ctx))
}

// volumeInUse: one agent per volume.
func volumeInUse(ctx context.Context, t *testing.T, s *localset.Set) {
	for _, subcommand := range []string{"init", "run"} {
		p := newHandPod(t, s.Pod(1).Name, freeHosts(t), s.SecretFile())
		p.volume, p.conf = s.Pod(1).Volume, s.Pod(1).ConfigDir
		agentDir := filepath.Join(p.volume, "agent") // mysqld writes to the rest
		before := listing(t, agentDir, p.conf)
		p.run(ctx, subcommand).mustRefuse(t, 75, `volume is in use by another agent`, `one agent per volume`)
		mustBeUntouched(t, before, agentDir, p.conf)
	}

	// Compose starts init again at every `up`. What is served needs nothing; what would need something is still refused.
	p := newHandPod(t, s.Pod(1).Name, hostsOf(s), s.SecretFile())
	p.volume, p.conf = s.Pod(1).Volume, s.Pod(1).ConfigDir
	agentDir := filepath.Join(p.volume, "agent")
	before := listing(t, agentDir, p.conf)
	if o := p.run(ctx, "init", "--skip-if-served"); o.code != 0 || !strings.Contains(o.stderr, "nothing to do") {
		t.Errorf("init --skip-if-served ended with %d:\n%s", o.code, o.stderr)
	}
	p.run(ctx, "init", "--skip-if-served", "--durability=semisync").mustRefuse(t, 75, `volume is in use by another agent`, `one agent per volume`)
	mustBeUntouched(t, before, agentDir, p.conf)
}

// thirdPod is a pod that the set does not know of, cloned by hand through a valve: interrupted, looked at, begun anew.
func thirdPod(ctx context.Context, t *testing.T, s *localset.Set) {
	behind := freeHosts(t)
	p := newHandPod(t, "mysql-2", behind, s.SecretFile())
	p.listen = hostOf(hostsOf(s), 2) // where agent status looks for it

	waiting := p.start("init")
	waiting.says(ctx, "waiting_for_donor")
	waiting.signal(syscall.SIGTERM)
	mustTerminate(t, waiting.wait(ctx))

	held := newValve(t, behind, 1, s.Pod(1).Host, 4<<20)
	cloning := p.start("init", oneStream)
	progress := waitStatus(ctx, t, s, 2, "a copy half done", func(st localset.Status) bool { return st.Clone != nil && st.Clone.BytesDone > 1<<20 })
	if progress.State != "cloning" || progress.Clone.Donor != "mysql-1" || progress.Clone.BytesTotal <= progress.Clone.BytesDone {
		t.Errorf("status while cloning: %+v, clone %+v", progress, progress.Clone)
	}
	statusWhileCloning(ctx, t, s)
	cloning.signal(syscall.SIGTERM)
	mustTerminate(t, cloning.wait(ctx))
	if _, err := os.Lstat(filepath.Join(p.volume, "current")); err == nil {
		t.Error("half a copy is current")
	}
	if names, err := os.ReadDir(p.conf); err != nil || len(names) > 0 {
		t.Errorf("mysqld's configuration after half a copy: %v, %v", names, err)
	}

	t.Log("the next init goes on with it; the donor's agent is told to end meanwhile, and the one after it goes on, too")
	held.refill(8 << 20)
	cloning = p.start("init", oneStream)
	waitStatus(ctx, t, s, 2, "more of the copy", func(st localset.Status) bool {
		return st.Clone != nil && st.Clone.Resumes == 1 && st.Clone.BytesDone > progress.Clone.BytesDone
	})
	mustEndInOrder(ctx, t, s, 1)
	held.open()
	o := cloning.wait(ctx)
	if o.code != 0 {
		t.Fatalf("init ended with %d:\n%s", o.code, o.stderr)
	}
	if log := o.stderr; !strings.Contains(log, `"msg":"cloning goes on"`) || !strings.Contains(log, "connection lost; going on") ||
		strings.Contains(log, "starting over") || strings.Contains(log, `"msg":"cloning"`) {
		t.Errorf("the copy did not go on to its end:\n%s", log)
	}
	must(t, s.WaitReady(ctx))
	completeVolume(ctx, t, p)
}

// mustTerminate checks how agent init ends when it is told to before it is done.
func mustTerminate(t *testing.T, o outcome) {
	t.Helper()
	o.mustRefuse(t, 143, `ended by a signal before the volume was ready$`, `run it again`)
	if o.took > 3*time.Second {
		t.Errorf("it took %v to end", o.took)
	}
}

// completeVolume: with a complete volume agent init needs nobody: no sibling, no name server, no network at all.
func completeVolume(ctx context.Context, t *testing.T, p *handPod) {
	p.hosts = "{base}-{ordinal}.nowhere.invalid"
	attr := func() *syscall.SysProcAttr {
		if os.Geteuid() != 0 {
			return &syscall.SysProcAttr{}
		}
		return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET} // not even a loopback interface that is up
	}
	// The address of the other network does not exist there: it is not listened on either.
	args := p.args("init", "--replicas=0", "--service=nowhere.invalid")
	first := startAgent(t, p.bin, attr(), args...).wait(ctx)
	if first.code != 0 {
		t.Fatalf("init on a complete volume ended with %d:\n%s", first.code, first.stderr)
	}
	before := listing(t, p.conf)
	config, err := os.ReadFile(filepath.Join(p.conf, "zz-ordinal.cnf"))
	must(t, err)
	var took []time.Duration
	for range 20 {
		begun := time.Now()
		o := startAgent(t, p.bin, attr(), args...).wait(ctx)
		took = append(took, time.Since(begun))
		if o.code != 0 {
			t.Fatalf("init ended with %d:\n%s", o.code, o.stderr)
		}
	}
	slices.Sort(took)
	t.Logf("agent init on a complete volume: median %v, longest %v", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	if longest := took[len(took)-1]; longest > 5*time.Second {
		t.Errorf("agent init took %v", longest)
	}
	mustBeUntouched(t, before, p.conf)
	if again, err := os.ReadFile(filepath.Join(p.conf, "zz-ordinal.cnf")); err != nil || string(again) != string(config) {
		t.Errorf("the configuration differs (%v):\n%s\nwas\n%s", err, again, config)
	}
}

func dataAddress(s *localset.Set, ordinal int) string {
	return net.JoinHostPort(s.Pod(ordinal).Host, "3307")
}
