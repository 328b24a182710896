package clone

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"ordinal/clone/protocol"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
	"ordinal/stream"
)

// TestCommitOrder: a replica that is cloned from while an index build comes down the replication stream blocks itself. The build
// waits for PAGE_COPY to end; a transaction behind it, already prepared, waits for the build, because commits keep their order;
// and the server ends PAGE_COPY only when nothing is prepared. It gives up after five minutes, with error 1815. The donor's
// relay has to see that and make the transaction behind wait unprepared.
//
// It was found by assembling a set under load with DDL: one run in four hung.
func TestCommitOrder(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	source, replica := replicated(t, ctx)

	dial := func(ctx context.Context) (net.Conn, error) { return mysqlx.DialRaw(ctx, replica.Root()) }
	session, err := protocol.Open(ctx, dial, protocol.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	a := &attempt{
		lanes: 1, joined: []*lane{newLane(io.Discard)}, side: &serverSide{session: session},
		ready: make(chan struct{}), produced: make(chan struct{}), filesEnd: make(chan struct{}),
	}
	close(a.produced)
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	relay := newRelaySink(NewDonor(DonorConfig{}), newSession("mysql-2"))
	relay.attach(a)
	sink := &hookedSink{
		relaySink: relay,
		start: func(stage protocol.Stage) {
			if stage.State == protocol.StatePageCopy {
				buildAndInsert(t, source)
				waitBlocked(t, replica)
			}
		},
	}
	if err := a.main().Hello(stream.Hello{}); err != nil {
		t.Fatal(err)
	}
	begun, over, released := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(released)
		releaseWhenStuck(ctx, over, sink.relaySink, replica.DB().ReleaseCommitOrder)
	}()
	err = session.Run(ctx, sink)
	close(over)
	<-released
	if err != nil {
		t.Fatalf("after %v: %v", time.Since(begun).Round(time.Second), err)
	}
	t.Logf("the clone took %v", time.Since(begun).Round(time.Millisecond))
	wantAll(t, source, replica)
}

// TestBreakInCommitOrder: the connections break while the donor's server is stuck so. Its side of the session is let be and goes on being
// freed, as root, because the agent's own account may not: so the recipient goes on with the same session. It did not before: the agent had
// left its server's side with the connections, nobody freed the server any more, and no attempt could begin until it gave up.
func TestBreakInCommitOrder(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	source, replica := replicated(t, ctx)
	d := newRealDonor(t, "mysql-1", replica, 1)
	d.change(func(c *DonorConfig) {
		c.Server = &stuckServer{DB: d.db, root: replica.DB(), release: func() bool {
			if d.count("interrupted") == 0 {
				d.wires.cut()
				return false
			}
			return true
		}}
	})
	offer, err := recipient("mysql-2").Ask(ctx, d.Peer, Wants{})
	must(t, err)
	dir, open := generation(t)
	_, err = offer.Receive(ctx, open(), &quiet{stage: func(stage string) {
		if stage == stream.StagePageCopy.String() {
			buildAndInsert(t, source)
			waitBlocked(t, replica)
		}
	}})
	must(t, err)
	if d.count("began") != 1 || d.count("resumed") == 0 {
		t.Errorf("events %+v", d.seen())
	}
	wantAll(t, source, replica)
	c := startCopy(t, dir)
	if got := c.QueryString(t, "SELECT COUNT(*) FROM d.built"); got != "2" {
		t.Errorf("%s rows in the copy, want 2", got)
	}
}

// A stuckServer is a donor's server whose blocked workers are thrown back by root, once release allows it.
type stuckServer struct {
	*mysqlx.DB
	root    *mysqlx.DB
	release func() bool
}

func (s *stuckServer) ReleaseCommitOrder(ctx context.Context) (int, error) {
	if !s.release() {
		return 0, nil
	}
	return s.root.ReleaseCommitOrder(ctx)
}

// replicated starts a source whose commits are slow to reach the binlog, and a replica that has everything.
func replicated(t *testing.T, ctx context.Context) (source, replica *mysqltest.Server) {
	t.Helper()
	gtid := map[string]string{"gtid_mode": "ON", "enforce_gtid_consistency": "ON", "plugin_load_add": "mysql_clone.so"}
	source = mysqltest.Start(t, mysqltest.Options{Config: withID(gtid, "1")})
	source.Exec(t, "CREATE DATABASE d")
	source.Exec(t, "CREATE TABLE d.built (id INT PRIMARY KEY, v INT, KEY (v))")
	source.Exec(t, "CREATE TABLE d.behind (id INT PRIMARY KEY)")
	source.Exec(t, "INSERT INTO d.built VALUES (1, 1), (2, 2)")
	source.Exec(t, "CREATE USER r IDENTIFIED BY 'r'")
	source.Exec(t, "GRANT ALL ON *.* TO r")
	source.Exec(t, "SET GLOBAL binlog_group_commit_sync_delay = 1000000") // microseconds
	replica = mysqltest.Start(t, mysqltest.Options{Config: withID(gtid, "2")})
	must(t, replica.DB().ConfigureSource(ctx, mysqlx.Source{Host: source.Host, Port: source.Port, User: "r", Password: "r"}))
	must(t, replica.DB().StartReplica(ctx))
	mysqltest.Eventually(t, "the replica to catch up", func() bool { return hasAll(t, source, replica) })
	return source, replica
}

func hasAll(t *testing.T, source, replica *mysqltest.Server) bool {
	t.Helper()
	return gtids(t, replica.DB()).Contains(gtids(t, source.DB()))
}

// waitBlocked waits until a worker of the replica waits, prepared, for the transaction before its own.
func waitBlocked(t *testing.T, replica *mysqltest.Server) {
	t.Helper()
	mysqltest.Eventually(t, "the replica to block itself", func() bool {
		return len(replica.Query(t, "SELECT 1 FROM performance_schema.threads WHERE PROCESSLIST_STATE = 'Waiting for preceding transaction to commit'")) > 0
	})
}

// wantAll waits until the replica has everything. The applier stops when its transaction is thrown back. Started again it executes it, as
// agent run sees to.
func wantAll(t *testing.T, source, replica *mysqltest.Server) {
	t.Helper()
	mysqltest.Eventually(t, "the replica to have everything", func() bool {
		status, err := replica.DB().ReplicaStatus(t.Context())
		if err == nil && len(status) == 1 && status[0].ApplierState == "OFF" {
			err = replica.DB().StartReplica(t.Context())
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		return hasAll(t, source, replica)
	})
	if got := replica.QueryString(t, "SELECT COUNT(*) FROM d.behind"); got != "1" {
		t.Errorf("%s rows behind the build, want 1", got)
	}
}

// buildAndInsert commits an index build, and behind it an insert that does not depend on it: it is prepared while the build,
// already written to the binlog, waits to be synced.
func buildAndInsert(t *testing.T, source *mysqltest.Server) {
	t.Helper()
	written := func() string {
		return source.QueryString(t, "SELECT MAX(COUNT_WRITE) FROM performance_schema.file_summary_by_event_name WHERE EVENT_NAME = 'wait/io/file/sql/binlog'")
	}
	before := written()
	built := make(chan struct{})
	go func() {
		defer close(built)
		source.Exec(t, "ALTER TABLE d.built ENGINE=InnoDB")
	}()
	mysqltest.Eventually(t, "the build to be written", func() bool { return written() != before })
	source.Exec(t, "INSERT INTO d.behind VALUES (1)")
	<-built
}

func withID(config map[string]string, id string) map[string]string {
	all := map[string]string{"server_id": id}
	for name, value := range config {
		all[name] = value
	}
	return all
}

// hookedSink is a relaySink that calls start before it enters a stage and confirms every stage by itself.
type hookedSink struct {
	*relaySink
	start func(protocol.Stage)
}

func (h *hookedSink) StageStart(ctx context.Context, s protocol.Stage) error {
	h.start(s)
	return h.relaySink.StageStart(ctx, s)
}

func (h *hookedSink) StageEnd(ctx context.Context, s protocol.Stage) error {
	done := make(chan error, 1)
	go func() { done <- h.relaySink.StageEnd(ctx, s) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			_ = h.attempt.confirm(stream.Stage(s.State)) // an error until the relay waits for it
		}
	}
}
