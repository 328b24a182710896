package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"ordinal/internal/trust"
	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// Rhythm of the loop. Whoever turns super_read_only off on a replica has it for two turns at most.
const (
	turnEvery = 800 * time.Millisecond
	loopBeat  = 2*actTimeout + 2*sqlTimeout // the longest turn
)

// Run keeps the pod's mysqld in its role until ctx ends: it observes, decides, acts and reports, over and over. It serves the
// status plane, and on the data plane the siblings' questions and copies of the data. When ctx ends it lets go of copies
// under way, leaves mysqld as it is and returns nil. An error means that it could not begin, or lost a listener or the volume.
func Run(ctx context.Context, cfg Config, log *zap.Logger) error {
	self, err := newSelf(cfg, log)
	if err != nil {
		return err
	}
	keys, err := trust.LoadRing(cfg.SecretFile)
	if err != nil {
		return err
	}
	vol, err := volume.Open(cfg.Volume)
	if err != nil {
		return err
	}
	defer vol.Close() // ends with the process in any case

	board := NewBoard(self.id, PhaseRun, cfg.AgentVersion)
	r := &runner{
		self: self, vol: vol, keys: keys, now: time.Now, passwords: &passwords{ring: keys},
		board:     board,
		metrics:   NewMetrics(board, cfg.AgentVersion),
		beat:      NewHeartbeat(loopBeat),
		client:    &PeerClient{Peers: self.peers, TLS: keys},
		readiness: Readiness{MaxLag: cfg.MaxLag},
	}
	r.events = &donorEvents{log: r.log, metrics: r.metrics}
	if err := r.connect(); err != nil {
		return err
	}
	r.archive = r.newArchivist()
	defer r.disconnect()
	defer r.endRebuild()
	defer r.endReplay()
	return r.serve(ctx)
}

// A runner is one run of agent run. The last group of fields belongs to the loop's goroutine.
type runner struct {
	self
	vol     *volume.Volume
	keys    *trust.Ring
	board   *Board
	metrics *Metrics
	beat    *Heartbeat
	client  *PeerClient
	now     func() time.Time

	passwords *passwords
	events    *donorEvents

	agent mysqlx.Endpoint // for connections that speak another protocol than SQL
	db    *mysqlx.DB      // as the agent's account
	root  *mysqlx.DB      // as root; nil when its password was not given
	bare  *mysqlx.DB      // as root without a password, which must not work

	readiness  Readiness
	gateSince  time.Time // since when the source's gate is closed; zero: it is not
	formerUUID string    // that mysqld was told to give up; "": none
	downSince  time.Time // since when mysqld does not answer; zero: it does
	idleSince  time.Time // since when nobody has the data directory open; zero: somebody has
	inUse      bool      // somebody had it open when this was looked at last
	opened     int       // how often somebody has opened it since a server answered
	startAfter time.Time // replication is not started before
	startPause time.Duration
	source     PeerAnswer
	sourceAt   time.Time
	surplus    surplus
	skips      skips
	siblings   []PeerAnswer
	siblingsAt time.Time
	rebuild    *rebuild   // nil: none is under way
	archive    *archivist // nil: nothing is archived
	replaying  *replaying // nil: none was begun
	failures   failures
	unheard    unheard

	overridden  []mysqlx.Override
	overridesAt time.Time
	kept        []string    // names in quarantine that are not to make room
	rotated     *trust.Keys // whose passwords the accounts are known to have; nil: not known
	discarded   *trust.Keys // since whose rotation no former password is valid
	channelHas  *trust.Keys // whose password the channel has; nil: not known
	tables      *int
	tablesAt    time.Time
	bytes       *uint64
	bytesAt     time.Time
	lastState   State    // what was logged last
	lastWhy     []Reason // and why
}

// connect prepares the ways to the pod's own server; none is used yet.
func (r *runner) connect() error {
	endpoint := func(user string, password func() (string, error)) mysqlx.Endpoint {
		return mysqlx.Endpoint{
			Address: r.cfg.MySQLAddress, Credentials: mysqlx.Credentials{User: user, Password: password},
			ReadTimeout: actTimeout,
		}
	}
	r.agent = endpoint(mysqlx.AgentAccount, r.passwords.agent)
	r.agent.ReadTimeout = 0 // a clone's messages have bounds of their own
	var err error
	if r.db, err = mysqlx.Open(endpoint(mysqlx.AgentAccount, r.agent.Password)); err != nil {
		return err
	}
	if r.bare, err = mysqlx.Open(endpoint("root", nil)); err != nil {
		return err
	}
	if r.cfg.RootPassword != nil {
		r.root, err = mysqlx.Open(endpoint("root", r.cfg.RootPassword))
	}
	return err
}

// config is mysqld's configuration once the volume's data is complete.
func (r *runner) config() serverConfig { return r.serverConfig(r.vol.DataDir(), true) }

// disconnect closes what connect opened. Nothing is under way any more.
func (r *runner) disconnect() {
	for _, db := range []*mysqlx.DB{r.db, r.root, r.bare} {
		if db != nil {
			_ = db.Close() // the process is about to end
		}
	}
}

// closeIdle leaves the server without connections of ours between two turns: one that shuts down waits 2 s for those it has.
func (r *runner) closeIdle() {
	for _, db := range []*mysqlx.DB{r.db, r.root, r.bare} {
		if db != nil {
			db.CloseIdle()
		}
	}
}

// serve runs the planes, the donor and the loop.
func (r *runner) serve(ctx context.Context) error {
	status, err := ListenStatus(ctx, r.cfg.StatusListen)
	if err != nil {
		return err
	}
	data, err := ListenData(ctx, r.cfg.DataListen)
	if err != nil {
		return errors.Join(err, status.Close())
	}
	donor := r.donor()
	if err := donor.Recover(); err != nil {
		r.log.Warn("a copy that was under way cannot go on; its recipient starts over", zap.Error(err))
	}
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error {
		return (&StatusPlane{Listener: status, Board: r.board, Heartbeat: r.beat, Metrics: r.metrics.Handler()}).Run(running)
	})
	g.Go(func() error {
		plane := &DataPlane{Listener: data, TLS: r.keys.ServerTLS(r.id.Pod), Board: r.board, Clone: donor.Handler(peerOf), Checksums: r.checksums()}
		return plane.Run(running)
	})
	g.Go(func() error {
		<-running.Done()
		r.board.Update(func(s *Status) {
			s.State, s.Ready, s.Reasons = StateTerminating, false, []Reason{NewReason(CodeTerminating, "the agent ends")}
		})
		donor.Close()
		return nil
	})
	g.Go(func() error { return r.keys.Run(running) })
	g.Go(func() error { return r.archive.keep(running, r.db) })
	g.Go(func() error { return r.loop(running) })
	err = g.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// loop turns until ctx ends. A turn that acted is followed by the next one at once.
func (r *runner) loop(ctx context.Context) error {
	defer r.archive.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		r.beat.Beat()
		acted, err := r.turn(ctx)
		r.closeIdle()
		if err != nil {
			return err
		}
		if acted {
			timer.Reset(0)
		} else {
			timer.Reset(turnEvery)
		}
	}
}

// turn observes, decides, acts and reports once. It reports whether it changed something. An error is one that no turn will
// cure: a server that this agent cannot work with.
func (r *runner) turn(ctx context.Context) (acted bool, err error) {
	v, err := r.observe(ctx)
	var unsupported *mysqlx.UnsupportedError
	switch {
	case ctx.Err() != nil:
		return false, nil
	case errors.As(err, &unsupported):
		return false, unsupported
	case err != nil:
		r.report(ctx, view{At: r.now(), Role: r.id.Role()}, verdict{State: StateWaitingForMysqld}.because(CodeVolumeDamaged, "%v", err))
		return false, nil
	}
	d := decide(v)
	r.board.SetPlan(planOfTurn(r.id, v, d))
	if d.Do != actNone {
		err := r.do(ctx, d, v)
		switch {
		case ctx.Err() != nil:
			return false, nil
		case err != nil:
			d = d.because(CodeMysqldError, "%s: %v", d.Do, err)
			r.log.Warn("could not "+string(d.Do), zap.Error(err))
		default:
			r.log.Info(string(d.Do), zap.Stringers("reasons", d.Reasons))
			r.metrics.acted(d.Do)
			return true, nil // what was seen is no longer so: the next turn reports
		}
	}
	r.report(ctx, v, d)
	return false, nil
}

// report puts what was seen and concluded on the board.
func (r *runner) report(ctx context.Context, v view, d verdict) {
	if d.State == StateReplicating {
		r.startPause = 0
	}
	archived := r.archive.turn(ctx, v, d)
	d = archived.judge(d, r.id.Pod)
	o := Observation{Role: v.Role, Serving: d.Serving}
	if len(v.Channels) == 1 {
		o.Lag = v.Channels[0].Lag
	}
	ready := r.readiness.Observe(r.now(), o)
	reasons := d.Reasons
	if ready.Reason != nil {
		reasons = append(reasons, *ready.Reason)
	}
	if r.lastState != d.State || !sameCodes(r.lastWhy, reasons) {
		r.log.Info("state", zap.String("state", string(d.State)), zap.String("before", string(r.lastState)), zap.Stringers("reasons", reasons))
		r.lastState, r.lastWhy = d.State, reasons
	}
	if ready.Ready && !v.Served && v.Volume == volume.Complete {
		if err := r.vol.MarkServed(ctx, v.Generation); err != nil {
			r.log.Warn("could not note that the data has been served", zap.Error(err))
		}
	}
	facts := v.Mysqld.Facts
	r.board.UpdateAsOf(v.At, func(s *Status) {
		s.State, s.Ready, s.Reasons, s.Clone, s.Archive = d.State, ready.Ready, reasons, nil, archived
		if v.Rebuild != nil {
			s.Clone = v.Rebuild.Now.Clone
		}
		s.HasData = hasData(v)
		secret := r.keys.State()
		s.Secret = &secret
		s.LagSeconds = nil
		if v.Role == RoleReplica && o.Lag != nil {
			seconds := o.Lag.Seconds()
			s.LagSeconds = &seconds
		}
		s.UserTables, s.DataBytes = v.Mysqld.UserTables, v.Mysqld.DataBytes
		if v.Mysqld.Reach == mysqldUp {
			s.ClusterID, s.ServerUUID, s.ServerVersion = v.ClusterID, facts.ServerUUID, facts.Version
			s.GTIDExecuted, s.GTIDPurged = facts.GTIDExecuted.String(), facts.GTIDPurged.String()
			// What a copy has that waits to be served is safe here as well.
			s.GTIDWaiting, s.GTIDLocal = v.Waiting.Union(v.Copied).Subtract(facts.GTIDExecuted).String(), v.Local.String()
		}
	})
}

// sameCodes compares reasons without their words, which may have numbers in them that change all the time.
func sameCodes(a, b []Reason) bool {
	return slices.EqualFunc(a, b, func(x, y Reason) bool { return x.Code == y.Code })
}

// hasData answers the siblings' question. What is not known is never said to be no.
func hasData(v view) HasData {
	switch v.Volume {
	case volume.Complete, volume.Switching:
		return DataYes
	case volume.Prepared, volume.NeverCompleted, volume.UnderWay:
		return DataBuilding
	}
	return DataUnknown
}

var _ PeerTLS = (*trust.Ring)(nil)
