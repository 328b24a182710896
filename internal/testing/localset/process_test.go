package localset_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ordinal/internal/testing/localset"
	"ordinal/internal/testing/mysqltest"
)

// parent starts a set and waits to be killed.
func parent() int {
	d, err := mysqltest.Find(context.Background())
	if err != nil {
		fmt.Println(err)
		return 1
	}
	s, err := localset.New(localset.Options{Dir: os.Args[2], Hosts: os.Args[3], Replicas: 1, AgentBinary: os.Args[0], Distribution: d})
	if err == nil {
		err = s.Start(context.Background())
	}
	if err == nil {
		err = s.WaitReady(context.Background())
	}
	fmt.Println("ready", err)
	select {}
}

// Nothing of a set survives the program that runs it, however that ends.
func TestNothingSurvivesTheParent(t *testing.T) {
	mysqltest.Get(t)
	dir, err := os.MkdirTemp("", "set")
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	hosts, err := localset.FreeHosts()
	check(t, err)
	cmd := exec.Command(os.Args[0], "parent", dir, hosts)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "ready <nil>\n" {
		t.Errorf("parent says %q, %v", line, err)
	}
	if n := count(t, dir); n < 3 {
		t.Errorf("%d processes of the set, want parent, agent and mysqld", n)
	}
	check(t, cmd.Process.Kill())
	_ = cmd.Wait()
	mysqltest.Eventually(t, "all processes are gone", func() bool { return count(t, dir) == 0 })
}

// count returns the number of processes that have dir in their command line.
func count(t *testing.T, dir string) int {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	check(t, err)
	n := 0
	for _, name := range names {
		if line, err := os.ReadFile(name); err == nil && strings.Contains(string(line), dir) {
			n++
		}
	}
	return n
}
