package clone

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"ordinal/clone/livefiles"
	"ordinal/clone/protocol"
	"ordinal/internal/testing/mysqltest"
	"ordinal/internal/trust"
	"ordinal/mysqlx"
	"ordinal/stream"
)

const clusterID = "00112233445566ff"

// A realDonor is a Donor of a real server, with what a test wants to do in between.
type realDonor struct {
	*Donor
	Peer
	server *mysqltest.Server
	db     *mysqlx.DB // as the agent's account, which may do no more than it has to
	wires  wires

	mu        sync.Mutex
	cfg       DonorConfig
	unfit     *Unfit
	onConfirm func(stream.Stage) // runs before the donor hears of a confirmation
	deaf      bool               // to recipients that give up
	events    []Event
}

// agentEndpoint makes the agent's account on a server and returns its login.
func agentEndpoint(t testing.TB, s *mysqltest.Server) mysqlx.Endpoint {
	t.Helper()
	must(t, s.DB().CreateAccounts(t.Context(), mysqlx.AccountSpec{
		ClusterID: clusterID, AgentPassword: keys().AgentPassword(), ReplicationPassword: keys().ReplicationPassword(clusterID),
	}))
	e := s.Root()
	e.Credentials = mysqlx.Credentials{User: mysqlx.AgentAccount, Password: mysqlx.FixedPassword(keys().AgentPassword())}
	return e
}

// newRealDonor serves copies of a server that is called pod.
func newRealDonor(t testing.TB, pod string, s *mysqltest.Server, workers int) *realDonor {
	t.Helper()
	e := agentEndpoint(t, s)
	db, err := mysqlx.Open(e)
	must(t, err)
	d := &realDonor{server: s, db: db}
	d.cfg = DonorConfig{
		Pod: pod, Workers: workers, Server: db,
		Dial:      dialer(e),
		ClusterID: func() string { return clusterID },
		Fit: func(string) *Unfit {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.unfit
		},
		Event: func(e Event) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.events = append(d.events, e)
			t.Logf("%s %s %s %d %v", time.Now().Format("05.000"), e.What, e.Copy, e.Bytes>>20, e.Err)
		},
	}
	d.Donor = NewDonor(d.cfg)
	d.Peer = Peer{Pod: pod, Address: serveWatched(t, pod, http.HandlerFunc(d.serve), d.wires.watch)}
	t.Cleanup(func() {
		d.donor().Close()
		_ = db.Close()
	})
	return d
}

// serve is the donor's endpoint, with what the test wants to do in between.
func (d *realDonor) serve(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	hook, deaf := d.onConfirm, d.deaf
	d.mu.Unlock()
	if deaf && r.Method == http.MethodDelete {
		panic(http.ErrAbortHandler)
	}
	donor := d.donor()
	donor.mu.Lock()
	session := donor.current
	donor.mu.Unlock()
	if hook != nil && session != nil && strings.HasSuffix(r.URL.Path, "/confirm") {
		session.mu.Lock()
		a := session.attempt
		session.mu.Unlock()
		a.mu.Lock()
		stage := a.stage
		a.mu.Unlock()
		hook(stage)
	}
	donor.Handler(func(r *http.Request) (string, error) { return trust.PeerPod(r.TLS) }).ServeHTTP(w, r)
}

// donor is the one that serves now.
func (d *realDonor) donor() *Donor {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Donor
}

// change gives the donor another configuration. Nothing is under way.
func (d *realDonor) change(change func(*DonorConfig)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.cfg)
	d.Donor = NewDonor(d.cfg)
}

// direct lets the donor read its server's files itself.
func (d *realDonor) direct() {
	d.change(func(c *DonorConfig) {
		c.Copy, c.LiveDir = CopyDirect, d.server.DataDir
		c.Files = func(ctx context.Context) (livefiles.Server, error) { return liveServer(ctx, d.db) }
	})
}

// wires are the connections of a server, which can all be cut at once.
type wires struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func (w *wires) watch(c net.Conn, s http.ConnState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		w.open = make(map[net.Conn]struct{})
	}
	if s == http.StateClosed || s == http.StateHijacked {
		delete(w.open, c)
	} else {
		w.open[c] = struct{}{}
	}
}

// cut resets every connection.
func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		if tcp, ok := c.(*tls.Conn).NetConn().(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
			_ = tcp.Close()
		}
	}
}

// set changes what the donor does from now on.
func (d *realDonor) set(change func(*realDonor)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

// seen returns what happened so far.
func (d *realDonor) seen() []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Event(nil), d.events...)
}

func dialer(e mysqlx.Endpoint) protocol.Dialer {
	e.ConnectTimeout = 30 * time.Second // a machine on which everything starts at once has been seen to need more than the usual 5 s
	return func(ctx context.Context) (net.Conn, error) { return mysqlx.DialRaw(ctx, e) }
}

// liveServer is what a server says of its files.
func liveServer(ctx context.Context, db *mysqlx.DB) (livefiles.Server, error) {
	f, err := db.DataFiles(ctx)
	return livefiles.Server{
		DataDir: f.DataDir, UndoDir: f.UndoDir, DataHomeDir: f.HomeDir, DataFilePath: f.DataFilePath,
		FlushMethod: f.FlushMethod, PageSize: f.PageSize, UUID: f.ServerUUID,
	}, err
}
