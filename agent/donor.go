package agent

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"sync"

	"go.uber.org/zap"

	"ordinal/clone"
	"ordinal/clone/livefiles"
	"ordinal/internal/trust"
	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// donor hands out copies of this pod's data while it is fit to.
func (r *runner) donor() *clone.Donor {
	events := r.events
	return clone.NewDonor(clone.DonorConfig{
		Pod:          r.id.Pod,
		Workers:      r.cfg.Workers(),
		Dial:         func(ctx context.Context) (net.Conn, error) { return mysqlx.DialRaw(ctx, r.agent) },
		Server:       r.cloneServer(),
		ClusterID:    func() string { return r.board.Status().ClusterID },
		Fit:          func(recipient string) *clone.Unfit { return fitness(r.board.Status(), r.roleOf(recipient)) },
		Event:        events.hear,
		Sessions:     r.vol.Note(volume.CloneSession),
		Rank:         rank,
		Streams:      r.cfg.CloneStreams,
		Copy:         string(r.cfg.Copy),
		LiveDir:      r.vol.DataDir(),
		Files:        r.files,
		MaxRate:      r.cfg.MaxRate,
		LatencyLimit: r.cfg.LatencyLimit,
		Latency:      r.db.CommitTimer(),
		Estimate:     r.db.CopySize,
		FreeBytes:    func() (uint64, error) { return freeBytes(r.vol.Path()) },
	})
}

// A cloneServer is the pod's own server as a donor asks it. Replication's workers are sessions of the system, which only an account with
// SYSTEM_USER may throw back: root's. See refman/8.4 kill.
type cloneServer struct {
	*mysqlx.DB
	root *mysqlx.DB // nil: its password was not given
}

func (r *runner) cloneServer() cloneServer { return cloneServer{r.db, r.root} }

// ReleaseCommitOrder is mysqlx's, as root where that is possible.
func (s cloneServer) ReleaseCommitOrder(ctx context.Context) (int, error) {
	if s.root != nil {
		return s.root.ReleaseCommitOrder(ctx)
	}
	return s.DB.ReleaseCommitOrder(ctx)
}

// peerOf names the pod at the other end of a request on the data plane.
func peerOf(req *http.Request) (string, error) { return trust.PeerPod(req.TLS) }

// rank puts recipients in order: whoever has the lower ordinal is waited for by the others.
func rank(pod string) int {
	_, ordinal, err := splitPodName(pod)
	if err != nil {
		return math.MaxInt // no pod of a set that we know has such a name
	}
	return ordinal
}

// files asks the server where its files are, and which process has them open, as far as its socket tells.
func (r *runner) files(ctx context.Context) (livefiles.Server, error) {
	f, err := r.db.DataFiles(ctx)
	if err != nil {
		return livefiles.Server{}, err
	}
	server := livefiles.Server{
		DataDir: f.DataDir, UndoDir: f.UndoDir, DataHomeDir: f.HomeDir, DataFilePath: f.DataFilePath,
		FlushMethod: f.FlushMethod, PageSize: f.PageSize, UUID: f.ServerUUID,
	}
	if filepath.IsAbs(r.cfg.MySQLAddress) {
		server.PID, err = livefiles.PIDBehind(ctx, r.cfg.MySQLAddress)
	}
	return server, err
}

// roleOf is the role of a pod of this set.
func (s self) roleOf(pod string) Role {
	if _, ordinal, err := splitPodName(pod); err == nil {
		return s.id.RoleOf(ordinal)
	}
	return RoleReplica
}

// fitness says whether a pod in this state may be copied by one of the given role. A replica is copied from who serves its role and is
// not behind. The source is copied from nobody but a replica, when its own data is gone: see decideEmptySource.
func fitness(s Status, recipient Role) *clone.Unfit {
	switch {
	case s.Phase == PhaseRun && recipient == RoleSource:
		if why := fitForSource(s); why != "" {
			return &clone.Unfit{Code: string(s.State), Message: why}
		}
		return nil
	case s.Phase == PhaseRun && (s.State == StateSource || s.State == StateReplicating):
		return nil
	case s.Phase == PhaseInit:
		return &clone.Unfit{Code: string(s.State), Message: "it has no data yet"}
	case len(s.Reasons) > 0:
		return &clone.Unfit{Code: string(s.State), Message: s.Reasons[0].String()}
	}
	return &clone.Unfit{Code: string(s.State), Message: fmt.Sprintf("%s is %s", s.Pod, s.State)}
}

// donorEvents logs and counts what happens to the copies that this pod gives, of which there is one at a time. Safe for concurrent
// use.
type donorEvents struct {
	log     *zap.Logger
	metrics *Metrics

	mu      sync.Mutex
	session string // the latest one; "" once it is over
	sent    uint64 // its bytes that are counted
}

// giving reports whether a copy is under way, or waits for its recipient.
func (d *donorEvents) giving() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.session != ""
}

// hear takes in one event.
func (d *donorEvents) hear(e clone.Event) {
	d.count(e)
	fields := []zap.Field{zap.String("recipient", e.Recipient)}
	if e.What == "refused" {
		d.log.Debug("clone session refused", append(fields, zap.Error(e.Err))...)
		return
	}
	fields = append(fields, zap.Uint64("bytes", e.Bytes))
	if e.Copy != "" {
		fields = append(fields, zap.String("copy", e.Copy))
	}
	if e.Err == nil {
		d.log.Info("clone session "+e.What, fields...)
		return
	}
	d.log.Warn("clone session "+e.What, append(fields, zap.Error(e.Err))...)
}

func (d *donorEvents) count(e clone.Event) {
	if e.What == "refused" {
		d.metrics.refuse(e.Err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.Session != d.session {
		d.over(resultFailed) // the former one made way
		d.session, d.sent = e.Session, 0
		if e.What == "resumed" {
			d.sent = e.Bytes // what an earlier process counted
		}
	}
	if e.Bytes > d.sent {
		d.metrics.sent.Add(float64(e.Bytes - d.sent))
		d.sent = e.Bytes
	}
	switch e.What {
	case "began":
		d.metrics.attempt(sideDonor, false)
		d.metrics.sending.Set(1)
	case "resumed":
		d.metrics.attempt(sideDonor, true)
		d.metrics.sending.Set(1)
	case "interrupted":
		d.metrics.sending.Set(0)
	case "ended":
		d.over(resultComplete)
	case "failed":
		d.over(resultFailed)
	}
}

// over counts the end of a session. d.mu is held.
func (d *donorEvents) over(result string) {
	if d.session != "" {
		d.metrics.sessions.WithLabelValues(result).Inc()
		d.session = ""
	}
	d.metrics.sending.Set(0)
}
