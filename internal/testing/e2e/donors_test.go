package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
)

// TestDonors: five pods from nothing, each cloned from the one before it, and then pods that the set does not know of, run by hand: they
// find a donor, wait for it, lose it, and run out of space.
func TestDonors(t *testing.T) {
	t.Parallel()
	const pods = 5
	ctx := withDeadline(t, 8*time.Minute)
	s := localset.ForTest(t, localset.Options{
		Replicas: pods, Database: "shop",
		MysqldArgs: func(int) []string { return []string{"--innodb-buffer-pool-size=48M"} },
	})
	must(t, s.WaitReady(ctx))
	for ordinal := range pods {
		want := []string{fmt.Sprintf("mysql-%d", ordinal+1)}
		if ordinal == pods-1 {
			want = nil
		}
		if got := recipients(s, ordinal); !slices.Equal(got, want) {
			t.Errorf("pod %d gave copies to %q, want %q: every pod is read once", ordinal, got, want)
		}
	}

	t.Run("queue", func(t *testing.T) { queueAtDonor(ctx, t, s) })
	t.Run("kill -9", func(t *testing.T) { killsInMidCopy(ctx, t, s) })
	t.Run("lost donor", func(t *testing.T) { lostDonor(ctx, t, s) })
	t.Run("disk full", func(t *testing.T) { diskFull(ctx, t, s) })
}

// recipients are the pods that a pod has given copies to, in order.
func recipients(s *localset.Set, ordinal int) (names []string) {
	for line := range strings.Lines(s.LogTail(ordinal, localset.Agent, 1<<20)) {
		if strings.Contains(line, `"msg":"clone session began"`) {
			names = append(names, regexp.MustCompile(`"recipient":"([^"]*)"`).FindStringSubmatch(line)[1])
		}
	}
	return names
}

// queueAtDonor: mysql-5 has the donor for itself; meanwhile mysql-7 and then mysql-6 ask it, because the pods between do not exist. The lower
// ordinal is served first.
func queueAtDonor(ctx context.Context, t *testing.T, s *localset.Set) {
	behind := freeHosts(t)
	held := newValve(t, behind, 4, s.Pod(4).Host, 4<<20)
	fifth := newHandPod(t, "mysql-5", behind, s.SecretFile()).start("init")
	fifth.says(ctx, `"msg":"cloning"`)

	var waiting []*program
	for _, name := range []string{"mysql-7", "mysql-6"} {
		p := newHandPod(t, name, hostsOf(s), s.SecretFile()).start("init", "--donor-patience=1s")
		p.says(ctx, "donor_busy")
		waiting = append(waiting, p)
	}
	held.open()
	for _, p := range append(waiting, fifth) {
		if o := p.wait(ctx); o.code != 0 {
			t.Errorf("init ended with %d:\n%s", o.code, o.stderr)
		}
	}
	for _, p := range waiting {
		if log := p.err(); !strings.Contains(log, "passing over pods that stay unfit") {
			t.Errorf("nothing is said about the pod that does not exist:\n%s", log)
		}
	}
	if got, want := recipients(s, 4), []string{"mysql-5", "mysql-6", "mysql-7"}; !slices.Equal(got, want) {
		t.Errorf("copies were given to %q, want %q", got, want)
	}
}

// killsInMidCopy: a recipient that is killed goes on where it was; a copy whose snapshot died with the donor's mysqld starts over, and says so.
func killsInMidCopy(ctx context.Context, t *testing.T, s *localset.Set) {
	behind := freeHosts(t)
	held := newValve(t, behind, 4, s.Pod(4).Host, 4<<20)
	p := newHandPod(t, "mysql-5", behind, s.SecretFile())
	p.listen = hostOf(hostsOf(s), 5) // where waitStatus asks
	first := p.start("init", oneStream)
	half := waitStatus(ctx, t, s, 5, "half a copy that is saved", func(st localset.Status) bool {
		_, err := os.Stat(filepath.Join(p.volume, "gen", "000001", "#clone", "ordinal_unfinished"))
		return st.Clone != nil && st.Clone.BytesDone > 1<<20 && err == nil
	})
	page := metricsPage(ctx, t, p.listen)
	mustMatch(t, page, `(?m)^ordinal_clone_active 1$`, `(?m)^ordinal_clone_stage{donor="mysql-4",stage="FILE_COPY"} 1$`,
		`(?m)^ordinal_clone_attempts_total{side="recipient"} 1$`, `(?m)^ordinal_pod_state{state="cloning"} 1$`)
	first.signal(syscall.SIGKILL)
	first.wait(ctx)

	held.refill(8 << 20)
	second := p.start("init", oneStream)
	waitStatus(ctx, t, s, 5, "more of it", func(st localset.Status) bool {
		return st.Clone != nil && st.Clone.Resumes == 1 && st.Clone.BytesDone > half.Clone.BytesDone
	})
	if !s.Kill9(4, localset.Mysqld) {
		t.Error("there was no mysqld to kill")
	}
	must(t, s.WaitReady(ctx, 4))
	held.open()
	o := second.wait(ctx)
	if o.code != 0 {
		t.Fatalf("init ended with %d:\n%s", o.code, o.stderr)
	}
	mustMatch(t, o.stderr, `"msg":"cloning goes on"`, `removing an unfinished copy; starting over.*snapshot_gone`, `"msg":"cloning"`, `"msg":"cloned"`)
	mustMatch(t, metricsPage(ctx, t, s.Pod(4).Host), `(?m)^ordinal_clone_sessions_total{result="complete"} [1-9]`, `(?m)^ordinal_clone_sessions_total{result="failed"} [1-9]`,
		`(?m)^ordinal_clone_sent_bytes_total [1-9]`, `(?m)^ordinal_clone_refused_total{reason="donor_busy"} [1-9]`, `(?m)^ordinal_pod_ready 1$`)
}

// metricsPage is what Prometheus would see.
func metricsPage(ctx context.Context, t *testing.T, host string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, strconv.Itoa(localset.StatusPort))+"/metrics", nil)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	must(t, err)
	return string(page)
}

// lostDonor: the donor is gone for good when half of the copy is there. The next one gives a whole one.
func lostDonor(ctx context.Context, t *testing.T, s *localset.Set) {
	before := len(recipients(s, 3))
	behind := freeHosts(t)
	lost := newValve(t, behind, 4, s.Pod(4).Host, 4<<20)
	newValve(t, behind, 3, s.Pod(3).Host, 0).open()
	p := newHandPod(t, "mysql-5", behind, s.SecretFile())
	p.listen = hostOf(hostsOf(s), 5) // where waitStatus asks
	cloning := p.start("init", oneStream, "--donor-patience=1s")
	waitStatus(ctx, t, s, 5, "half a copy", func(st localset.Status) bool { return st.Clone != nil && st.Clone.BytesDone > 1<<20 })
	lost.shut()
	o := cloning.wait(ctx)
	if o.code != 0 {
		t.Fatalf("init ended with %d:\n%s", o.code, o.stderr)
	}
	for _, text := range []string{"connection lost; going on", "passing over pods that stay unfit", "removing an unfinished copy", `"donor":"mysql-3"`} {
		if !strings.Contains(o.stderr, text) {
			t.Errorf("the log does not say %q:\n%s", text, o.stderr)
		}
	}
	if got := recipients(s, 3)[before:]; !slices.Equal(got, []string{"mysql-5"}) {
		t.Errorf("mysql-3 gave copies to %q", got)
	}
}

// diskFull: a volume that is too small before the copy, and one that fills up in the middle of it. Both times the copy begins by itself when
// there is room.
func diskFull(ctx context.Context, t *testing.T, s *localset.Set) {
	small := smallDisk(t, "320M")
	behind := freeHosts(t)
	held := newValve(t, behind, 4, s.Pod(4).Host, 4<<20)
	p := newHandPod(t, "mysql-5", behind, s.SecretFile())
	p.listen = hostOf(hostsOf(s), 5) // where waitStatus asks
	p.volume = filepath.Join(small, "volume")
	must(t, os.Mkdir(p.volume, 0o755))
	ballast := filepath.Join(small, "ballast")
	waitsForSpace := func(st localset.Status) bool {
		return st.State == "waiting_for_space" && regexp.MustCompile(`^no_space need=\d+ have=\d+`).MatchString(st.Reasons[0].Code+" "+st.Reasons[0].Message)
	}

	fill(t, ballast, 300<<20)
	init := p.start("init", oneStream)
	waitStatus(ctx, t, s, 5, "too little room", waitsForSpace)
	if names := unfinished(t, p); len(names) > 0 {
		t.Errorf("a copy that does not fit was begun: %q", names)
	}
	must(t, os.Remove(ballast))
	waitStatus(ctx, t, s, 5, "half a copy", func(st localset.Status) bool { return st.Clone != nil && st.Clone.BytesDone > 1<<20 })
	fill(t, ballast, 1<<30)
	held.open()
	waitStatus(ctx, t, s, 5, "no room left", waitsForSpace)
	if names := unfinished(t, p); len(names) > 0 {
		t.Errorf("what was copied is still there: %q", names)
	}
	must(t, os.Remove(ballast))
	if o := init.wait(ctx); o.code != 0 {
		t.Errorf("init ended with %d:\n%s", o.code, o.stderr)
	}
}

// smallDisk mounts a file system in memory.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "disk")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); errors.Is(err, syscall.EPERM) {
		t.Skip("needs the right to mount a file system")
	} else {
		must(t, err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill writes up to bytes, or until the file system is full.
func fill(t *testing.T, path string, bytes int) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for block := make([]byte, 1<<20); bytes > 0; bytes -= len(block) {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return
		} else {
			must(t, err)
		}
	}
}

// unfinished lists the generations on a pod's volume.
func unfinished(t *testing.T, p *handPod) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(p.volume, "gen"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
