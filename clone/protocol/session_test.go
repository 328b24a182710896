package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ordinal/clone/protocol"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// discard counts.
type discard struct {
	data  func(context.Context, protocol.Data, []byte) error
	end   func(protocol.Stage) error
	bytes atomic.Int64
	ended []protocol.State
}

func (*discard) StageStart(context.Context, protocol.Stage) error { return nil }
func (*discard) File(context.Context, protocol.FileMeta) error    { return nil }
func (k *discard) Data(ctx context.Context, d protocol.Data, b []byte) error {
	k.bytes.Add(int64(len(b)))
	if k.data != nil {
		return k.data(ctx, d, b)
	}
	return nil
}

func (k *discard) StageEnd(_ context.Context, s protocol.Stage) error {
	k.ended = append(k.ended, s.State)
	if k.end != nil {
		return k.end(s)
	}
	return nil
}

// idle waits until no clone is left on the donor and says how long that took.
func idle(t *testing.T, s *mysqltest.Server) time.Duration {
	t.Helper()
	from := time.Now()
	for s.QueryString(t, "SELECT COUNT(*) FROM performance_schema.processlist WHERE user = ?", cloneUser) != "0" {
		if time.Since(from) > 20*time.Second {
			t.Fatalf("clone sessions are left: %v", s.Query(t, "SELECT id, command, time, state FROM performance_schema.processlist WHERE user = ?", cloneUser))
		}
		<-time.After(10 * time.Millisecond)
	}
	took := time.Since(from)
	replaced(t, s) // the snapshot is released, too
	return took
}

// replaced waits until the donor takes a new clone. After a broken connection it keeps the snapshot
// for a client that comes back, but gives it up for a new one once it has noticed.
func replaced(t *testing.T, s *mysqltest.Server) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, err := protocol.Open(t.Context(), dialer(s), protocol.Options{})
		if err == nil {
			c.Close()
			return
		}
		if !errors.Is(err, protocol.ErrCloneInProgress) || time.Now().After(deadline) {
			t.Fatalf("next clone: %v", err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func open(t *testing.T, dial protocol.Dialer, o protocol.Options) *protocol.Session {
	t.Helper()
	s, err := protocol.Open(t.Context(), dial, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Everything that needs no load shares a donor.
func TestSession(t *testing.T) {
	donor := startDonor(t, 40)
	dial := dialer(donor)
	options := protocol.Options{Workers: 2}

	t.Run("versions", func(t *testing.T) {
		for v := uint32(0x0100); v <= protocol.VersionLatest; v++ {
			s := open(t, dial, protocol.Options{Version: v, Workers: 1})
			if p := s.Parameters(); p.Negotiated != v {
				t.Errorf("negotiated %#x, want %#x", p.Negotiated, v)
			}
			k := &discard{}
			if err := s.Run(t.Context(), k); err != nil {
				t.Errorf("protocol version %#x: %v", v, err)
			}
			if fmt.Sprint(k.ended) != "[FILE_COPY PAGE_COPY REDO_COPY]" {
				t.Errorf("stages ended: %v", k.ended)
			}
			if err := s.Run(t.Context(), k); !errors.Is(err, protocol.ErrClosed) {
				t.Errorf("second Run = %v, want ErrClosed", err)
			}
		}
	})
	t.Run("many workers", func(t *testing.T) {
		if err := open(t, dial, protocol.Options{Workers: 20}).Run(t.Context(), &discard{}); err != nil {
			t.Error(err)
		}
		idle(t, donor)
	})
	t.Run("busy", func(t *testing.T) {
		s := open(t, dial, protocol.Options{})
		if _, err := protocol.Open(t.Context(), dial, protocol.Options{}); !errors.Is(err, protocol.ErrCloneInProgress) {
			t.Errorf("second Open = %v, want ErrCloneInProgress", err)
		}
		s.Close()
		if took := idle(t, donor); took > time.Second {
			t.Errorf("donor was busy for %v after Close", took)
		}
		if err := s.Run(t.Context(), &discard{}); !errors.Is(err, protocol.ErrClosed) {
			t.Errorf("Run after Close = %v, want ErrClosed", err)
		}
	})
	t.Run("denied", func(t *testing.T) {
		donor.Exec(t, "CREATE USER nobody@localhost IDENTIFIED BY 'secret'")
		e := donor.Root()
		e.Credentials = mysqlx.Credentials{User: "nobody", Password: mysqlx.FixedPassword("secret")}
		_, err := protocol.Open(t.Context(), func(ctx context.Context) (net.Conn, error) { return mysqlx.DialRaw(ctx, e) }, options)
		var hint interface{ Hint() string }
		if !errors.Is(err, protocol.ErrDenied) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "BACKUP_ADMIN") {
			t.Errorf("Open = %v, want ErrDenied with a hint", err)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		for _, block := range []bool{false, true} {
			ctx, cancel := context.WithCancelCause(t.Context())
			why := errors.New("recipient went away")
			k := &discard{data: func(ctx context.Context, _ protocol.Data, _ []byte) error {
				cancel(why)
				if block { // as a sink does that waits for its recipient
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			}}
			if err := open(t, dial, options).Run(ctx, k); err != why {
				t.Errorf("Run = %v, want the cause of the context's end", err)
			}
			if took := idle(t, donor); took > time.Second {
				t.Errorf("donor was busy for %v after the end", took)
			}
		}
	})
	t.Run("close", func(t *testing.T) {
		s := open(t, dial, options)
		k := &discard{end: func(protocol.Stage) error { return s.Close() }}
		if err := s.Run(t.Context(), k); !errors.Is(err, protocol.ErrClosed) {
			t.Errorf("Run = %v, want ErrClosed", err)
		}
		idle(t, donor)
	})
	t.Run("sink error", func(t *testing.T) {
		full := errors.New("disk full")
		for name, k := range map[string]*discard{
			"data":  {data: func(context.Context, protocol.Data, []byte) error { return full }},
			"stage": {end: func(protocol.Stage) error { return full }},
		} {
			if err := open(t, dial, options).Run(t.Context(), k); err != full {
				t.Errorf("Run = %v, want the error of the sink's %s", err, name)
			}
			if took := idle(t, donor); took > time.Second {
				t.Errorf("donor was busy for %v after the end", took)
			}
		}
	})
	t.Run("killed on the donor", func(t *testing.T) {
		var once sync.Once
		k := &discard{data: func(ctx context.Context, _ protocol.Data, _ []byte) error {
			once.Do(func() {
				rows, err := donor.DB().Query(ctx, "SELECT id FROM performance_schema.processlist WHERE user = ? ORDER BY id", cloneUser)
				if err != nil {
					t.Error(err)
					return
				}
				for _, r := range rows {
					_ = donor.DB().Exec(ctx, "KILL "+r[0]) // the first may take the others with it
				}
			})
			return nil
		}}
		if err := open(t, dial, protocol.Options{}).Run(t.Context(), k); err == nil {
			t.Error("Run = nil after its sessions were killed")
		}
		idle(t, donor)
	})
	t.Run("broken connection", func(t *testing.T) {
		for nth := int64(1); nth <= 4; nth++ { // main, auxiliary, workers
			b := &breaker{dial: dial, victim: nth, after: 8 << 20, how: func(c net.Conn) (int, error) {
				c.Close()
				return 0, net.ErrClosed
			}}
			if nth == 2 {
				b.after = 8 // the first answer on the auxiliary connection
			}
			s, err := protocol.Open(t.Context(), b.open, options)
			if err == nil {
				k := &discard{data: func(context.Context, protocol.Data, []byte) error {
					time.Sleep(time.Millisecond) // simulates a slow receiver: every worker has its share
					return nil
				}}
				err = s.Run(t.Context(), k)
			}
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("connection %d broken: %v, want the connection's error", nth, err)
			}
			replaced(t, donor)
		}
	})
	t.Run("silent donor", func(t *testing.T) {
		for nth := int64(1); nth <= 3; nth++ {
			done := make(chan struct{})
			b := &breaker{dial: dial, victim: nth, after: 1 << 20, how: func(c net.Conn) (int, error) {
				<-done
				return 0, net.ErrClosed
			}, done: done}
			if nth == 2 {
				b.answers = 2 // past the statistics and the OK packet
			}
			s := open(t, b.open, protocol.Options{Workers: 1, StallTimeout: 500 * time.Millisecond})
			if err := s.Run(t.Context(), &discard{}); !errors.Is(err, protocol.ErrStalled) {
				t.Errorf("connection %d silent: %v, want ErrStalled", nth, err)
			}
			idle(t, donor)
		}
	})
	t.Run("slow sink is no stall", func(t *testing.T) {
		k := &discard{end: func(protocol.Stage) error {
			time.Sleep(400 * time.Millisecond) // simulates a slow receiver
			return nil
		}}
		s := open(t, dial, protocol.Options{Workers: 1, StallTimeout: 200 * time.Millisecond})
		if err := s.Run(t.Context(), k); err != nil {
			t.Error(err)
		}
	})
	t.Run("options", func(t *testing.T) {
		for _, o := range []protocol.Options{
			{Workers: -1}, {Workers: protocol.MaxWorkers + 1}, {DDLTimeout: time.Millisecond}, {DDLTimeout: 25 * time.Hour},
			{Version: 0xff}, {Version: 0x104}, {StallTimeout: -1},
		} {
			if _, err := protocol.Open(t.Context(), dial, o); err == nil {
				t.Errorf("Open with %+v = nil", o)
			}
		}
	})
	t.Run("shutdown", func(t *testing.T) { // last: the donor is gone
		var once sync.Once
		k := &discard{data: func(context.Context, protocol.Data, []byte) error {
			once.Do(func() { donor.Stop(t) })
			return nil
		}}
		err := open(t, dial, protocol.Options{}).Run(t.Context(), k)
		if err == nil {
			t.Error("Run = nil although the donor shut down")
		}
		t.Logf("Run = %v", err)
		if _, err := protocol.Open(t.Context(), dial, options); err == nil {
			t.Error("Open = nil without a donor")
		}
	})
}

// A breaker does something to the nth connection when it has received so many bytes.
type breaker struct {
	dial    protocol.Dialer
	victim  int64
	after   int64
	answers int64 // small ones, instead of bytes
	how     func(net.Conn) (int, error)
	done    chan struct{} // closed when the victim is closed; may be nil
	count   atomic.Int64
}

func (b *breaker) open(ctx context.Context) (net.Conn, error) {
	c, err := b.dial(ctx)
	if err != nil || b.count.Add(1) != b.victim {
		return c, err
	}
	return &brokenConn{Conn: c, b: b}, nil
}

type brokenConn struct {
	net.Conn
	b       *breaker
	got     int64
	answers int64
	once    sync.Once
}

func (c *brokenConn) Read(p []byte) (int, error) {
	if c.got >= c.b.after || c.b.answers > 0 && c.answers >= c.b.answers {
		return c.b.how(c.Conn)
	}
	n, err := c.Conn.Read(p)
	c.got += int64(n)
	c.answers++
	return n, err
}

func (c *brokenConn) Close() error {
	c.once.Do(func() {
		if c.b.done != nil {
			close(c.b.done)
		}
	})
	return c.Conn.Close()
}

// BenchmarkClone is the speed of a clone that is thrown away.
func BenchmarkClone(b *testing.B) {
	donor := startDonor(b, 500)
	for _, workers := range []int{0, 1, 3} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s, err := protocol.Open(b.Context(), dialer(donor), protocol.Options{Workers: workers})
				if err != nil {
					b.Fatal(err)
				}
				k := &discard{}
				if err := s.Run(b.Context(), k); err != nil {
					b.Fatal(err)
				}
				b.SetBytes(k.bytes.Load())
			}
		})
	}
}
