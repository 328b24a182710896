package containers

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"
)

// TestMain runs the tests where the product's module is: images are built from it, and this is a module of its own.
func TestMain(m *testing.M) {
	if err := os.Chdir("../../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A scenario finds a set that is whole and leaves one.
type scenario struct {
	name  string
	limit time.Duration // for a machine with much else to do
	run   func(context.Context, *testing.T, *Cluster)
}

// TestPods assembles a set of three and lets it live through what happens to Pods.
func TestPods(t *testing.T) {
	t.Parallel()
	c := newCluster(withDeadline(t, 5*time.Minute), t, "pods", 0)
	live(t, c, []scenario{
		{"assembles from nothing", 3 * time.Minute, assembles},
		{"has the rights in the manifest", time.Minute, restricted},
		{"containers restart", time.Minute, restarts},
		{"partition of the source", 2 * time.Minute, partitionOfSource},
		{"partition of a replica", 3 * time.Minute, partitionOfReplica},
		{"addresses change", 3 * time.Minute, addressesChange},
		{"node loss", 4 * time.Minute, nodeLoss},
		{"power cut", 3 * time.Minute, powerCut},
		{"order of the end", 2 * time.Minute, orderOfEnd},
		{"jobs", 3 * time.Minute, jobs},
	})
}

// TestSmallSet is a source and one replica on volumes with a size. Most of its time it waits for a server that waits for room.
func TestSmallSet(t *testing.T) {
	t.Parallel()
	c := newCluster(withDeadline(t, 5*time.Minute), t, "small", volumeSize)
	*c.manifest.Set.Spec.Replicas = 2
	live(t, c, []scenario{
		{"full volumes", 4 * time.Minute, fullVolumes},
		{"semi-synchronous", 3 * time.Minute, semiSynchronous},
	})
}

func live(t *testing.T, c *Cluster, scenarios []scenario) {
	for _, s := range scenarios {
		began := time.Now()
		ok := t.Run(s.name, func(t *testing.T) { s.run(withDeadline(t, s.limit), t, c) })
		t.Logf("%s: %.1f s", s.name, time.Since(began).Seconds())
		if !ok {
			return // what comes after needs a set that is whole
		}
	}
}
