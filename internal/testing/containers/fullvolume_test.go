package containers

import (
	"context"
	"crypto/tls"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
	"ordinal/mysqlx"
)

const (
	mib           = 1 << 20
	volumeSize    = 600 * mib // a donor wants 256 MiB free
	almostNothing = mib
)

// fullVolumes fills volumes that are file systems of their own: a replica's during its clone and while it replicates, and the source's. Each
// time room is made, and nobody does anything else. See docs/what-if.md#no_space and #disk_full.
func fullVolumes(ctx context.Context, t *testing.T, c *Cluster) {
	t.Log("a clone that does not fit")
	_, err := c.bind(c.claimName(1), volumeSize)
	must(t, err)
	must(t, c.Volume(1).Fill(60*mib))
	for ordinal := range c.Replicas() {
		_, err := c.Create(ordinal)
		must(t, err)
	}
	st := c.waitStatus(ctx, t, 1, "a lack of room", func(st localset.Status) bool { return st.State == "waiting_for_space" && has(st, "no_space") })
	var need, have int64
	if _, err := fmt.Sscanf(st.Reasons[0].Message, "need=%d have=%d", &need, &have); err != nil || need <= have || have <= 0 {
		t.Errorf("the message has no bytes: %q", st.Reasons[0].Message)
	}
	if left := c.Volume(1).Glob("gen/*/*"); len(left) > 0 {
		t.Errorf("of a copy that was not begun %q is there", left)
	}
	must(t, c.Volume(1).MakeRoom())
	must(t, c.WaitReady(ctx))
	if exits := c.Pod(1).Exits("init"); len(exits) != 1 {
		t.Errorf("agent init has ended %v: it waits for room, it does not start over", exits)
	}
	generation := c.generation(t, 1)

	t.Log("a replica's volume fills up")
	c.createApp(ctx, t)
	must(t, c.Exec(ctx, 0, "CREATE DATABASE bank"))
	must(t, c.Exec(ctx, 0, "CREATE TABLE bank.blobs (id INT PRIMARY KEY, body LONGBLOB NOT NULL)"))
	w := c.startBlobs(ctx, t)
	w.more(ctx, t, 2)
	must(t, c.Volume(1).Fill(almostNothing))
	c.waitStatus(ctx, t, 1, "a full disk to be noticed", func(st localset.Status) bool { return st.State == "not_replicating" && has(st, "disk_full") })
	w.more(ctx, t, 2) // the source is not held up

	t.Log("and the source's")
	must(t, c.Volume(0).Fill(almostNothing))
	c.eventually(ctx, t, "writes that wait or fail", func() bool { return w.stalled() > 5*time.Second })
	if st, err := c.Status(ctx, 0); err != nil {
		t.Errorf("the source's agent does not answer: %v", err)
	} else {
		t.Logf("the source says: %s, ready: %v", st.Explain(), st.Ready)
	}
	if _, err := c.Query(ctx, 0, "SELECT COUNT(*) FROM bank.blobs"); err != nil {
		t.Errorf("a source with a full disk does not even read: %v", err)
	}
	must(t, c.Volume(0).MakeRoom())
	must(t, c.Volume(1).MakeRoom())
	w.more(ctx, t, 2)
	acked := w.stop()
	c.settled(ctx, t)
	for ordinal := range c.Replicas() {
		there := map[string]bool{}
		rows, err := c.Query(ctx, ordinal, "SELECT id FROM bank.blobs")
		must(t, err)
		for _, row := range rows {
			there[row[0]] = true
		}
		for _, id := range acked {
			if !there[strconv.Itoa(id)] {
				t.Errorf("%s lacks row %d, which was acknowledged", c.Name(ordinal), id)
			}
		}
		if n := len(c.Pod(ordinal).Exits("mysql")) + len(c.Pod(ordinal).Exits("agent")); n > 0 {
			t.Errorf("something of %s has ended because of a full volume:\n%s", c.Name(ordinal), started(c.Pod(ordinal)))
		}
	}
	if c.generation(t, 1) != generation || len(c.quarantined(1)) > 0 {
		t.Errorf("the replica was cloned anew (%q)", c.quarantined(1))
	}
}

// blobs writes rows of 256 KiB through the write Service, one after the other.
type blobs struct {
	c      *Cluster
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	acked []int
	last  time.Time // of the latest acknowledgement
	err   error
}

func (c *Cluster) startBlobs(ctx context.Context, t *testing.T) *blobs {
	t.Helper()
	db, err := mysqlx.Open(mysqlx.Endpoint{
		Address: c.Service("mysql-write").Address(), Credentials: app, TLS: &tls.Config{InsecureSkipVerify: true}, // the server's certificate is its own
	})
	must(t, err)
	ctx, cancel := context.WithCancel(ctx)
	w := &blobs{c: c, cancel: cancel, last: time.Now()}
	w.done.Go(func() {
		defer db.Close()
		for id := 0; ctx.Err() == nil; id++ {
			// A statement waits for room as long as the server does.
			err := db.Exec(context.WithoutCancel(ctx), "INSERT INTO bank.blobs VALUES (?, REPEAT(SHA2(RAND(), 256), 4096))", id)
			w.mu.Lock()
			if err == nil {
				w.acked, w.last = append(w.acked, id), time.Now()
			}
			w.err = err
			w.mu.Unlock()
			pause(ctx, 500*time.Millisecond)
		}
	})
	return w
}

// more waits until n more rows are acknowledged.
func (w *blobs) more(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	count := func() (int, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.acked), w.err
	}
	before, _ := count()
	must(t, w.c.poll(ctx, "wait for rows", func() error {
		if now, err := count(); now < before+n {
			return fmt.Errorf("%d of %d: %w", now-before, n, err)
		}
		return nil
	}))
}

// stalled returns for how long nothing has been acknowledged.
func (w *blobs) stalled() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.last)
}

// stop returns which rows were acknowledged.
func (w *blobs) stop() []int {
	w.cancel()
	w.done.Wait()
	return w.acked
}
