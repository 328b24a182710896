package clone

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

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

	mu        sync.Mutex
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
	d.Donor = NewDonor(DonorConfig{
		Pod: pod, Workers: workers, Server: db,
		Dial:      dialer(e),
		ClusterID: func() string { return clusterID },
		Fit: func() *Unfit {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.unfit
		},
		Event: func(e Event) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.events = append(d.events, e)
		},
	})
	handler := d.Handler(func(r *http.Request) (string, error) { return trust.PeerPod(r.TLS) })
	hooked := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		hook, deaf := d.onConfirm, d.deaf
		d.mu.Unlock()
		if deaf && r.Method == http.MethodDelete {
			panic(http.ErrAbortHandler)
		}
		d.Donor.mu.Lock()
		session := d.current
		d.Donor.mu.Unlock()
		if hook != nil && session != nil && strings.HasSuffix(r.URL.Path, "/confirm") {
			session.mu.Lock()
			stage := session.stage
			session.mu.Unlock()
			hook(stage)
		}
		handler.ServeHTTP(w, r)
	})
	d.Peer = Peer{Pod: pod, Address: serve(t, pod, hooked)}
	t.Cleanup(func() {
		d.Donor.Close()
		_ = db.Close()
	})
	return d
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
	return func(ctx context.Context) (net.Conn, error) { return mysqlx.DialRaw(ctx, e) }
}
