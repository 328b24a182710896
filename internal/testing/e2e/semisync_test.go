package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
)

func semisync(int) []string { return []string{"--durability=semisync"} }

// TestSemisyncLosesNothing: with --durability=semisync the source's volume is removed in the middle of writing, without waiting for anybody. Every
// transaction that was acknowledged to a client is there when the source has its data back.
func TestSemisyncLosesNothing(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 6*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 3, AgentArgs: semisync})
	must(t, s.WaitReady(ctx))
	l := load.New(load.Options{Endpoint: s.RootEndpoint(0)})
	must(t, l.Prepare(ctx))
	for round := range 2 {
		running, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- l.Run(running) }()
		before := l.Stats().Acked
		waitFor(ctx, t, "acknowledged transactions", func() bool { return l.Stats().Acked > before+200 })
		for !s.Kill9(0, localset.Mysqld) { // what it has sent nobody must be lost with it
			must(t, ctx.Err())
		}
		must(t, s.DeleteVolume(ctx, 0))
		must(t, s.WaitReady(ctx))
		cancel()
		<-done
		db, err := s.DB(0)
		must(t, err)
		must(t, l.CheckNothingLost(ctx, db))
		t.Logf("round %d: %d acknowledged transactions, none lost", round, l.Stats().Acked)
	}
	mustBeEqual(ctx, t, s)
}

// TestNobodyAcknowledges: without a replica a commit waits, and the source says so. A replica that has to be cloned from that very source, because its
// own volume is gone too, still gets its copy, and then the commit ends.
func TestNobodyAcknowledges(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 6*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop", AgentArgs: semisync})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	must(t, s.WaitConverged(ctx))
	must(t, s.DeleteVolume(ctx, 1)) // its next life clones; until then nobody acknowledges
	committed := make(chan error, 1)
	go func() { committed <- s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1)") }()
	must(t, s.WaitReady(ctx, 1))
	if err := <-committed; err != nil {
		t.Logf("the client whose commit waited was told: %v", err) // never that it is committed while nobody else has it
	}
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (2)"))
	mustBeEqual(ctx, t, s)

	must(t, s.Scale(ctx, 1))
	go func() { committed <- s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (3)") }()
	waitStatus(ctx, t, s, 0, "the source to say that nobody acknowledges", func(st localset.Status) bool {
		for _, r := range st.Reasons {
			if r.Code == "nobody_acknowledges" && strings.Contains(r.Message, "1 ") {
				return true
			}
		}
		return false
	})
	select {
	case err := <-committed:
		t.Errorf("a commit that nobody has acknowledged ended: %v", err)
	default:
	}
	must(t, s.Scale(ctx, 2))
	must(t, <-committed)
	mustBeEqual(ctx, t, s)
}
