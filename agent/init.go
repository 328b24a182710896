package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"ordinal/clone"
	"ordinal/internal/trust"
	"ordinal/internal/volume"
)

// initBeat is how long agent init may be busy with one step before /livez says so. A clone's steps beat by themselves.
const initBeat = 2 * time.Minute

// Init makes the pod's volume fit to start mysqld on and writes mysqld's configuration, or says why it may not. It waits, for
// as long as it takes, for pods it needs, serves the status and data planes meanwhile, and survives being killed at any
// moment: the next call goes on or starts over. With a complete volume it needs no network.
//
// Errors carry an exit code and, where a human has to act, a hint. A guard's no is a *RefusedError. When ctx ends Init
// returns its cause; everything begun is durable or removed by the next call.
func Init(ctx context.Context, cfg Config, log *zap.Logger) error {
	self, err := newSelf(cfg, log)
	if err != nil {
		return err
	}
	if err := preflight(self.id.Role(), cfg); err != nil {
		return err
	}
	vol, err := volume.Open(cfg.Volume)
	if err != nil {
		return err
	}
	defer vol.Close() // ends with the process in any case

	board := NewBoard(self.id, PhaseInit, cfg.AgentVersion)
	i := &initialiser{self: self, vol: vol, board: board, metrics: NewMetrics(board, cfg.AgentVersion), beat: NewHeartbeat(initBeat)}
	if done, err := i.local(ctx); done || err != nil {
		return err
	}
	if i.keys, err = self.secret.Derive(); err != nil {
		return err
	}
	return i.withPlanes(ctx)
}

// preflight says what can be said before the volume is locked, which makes a directory in it: what is not ours stays without
// a trace of us, and a configuration that cannot be written costs nobody a copy of all data. Whatever else is wrong is left to
// those who look again with the lock held, when nobody changes what they look at.
func preflight(role Role, cfg Config) error {
	content, err := volume.Inspect(cfg.Volume)
	if err != nil {
		return nil
	}
	step, err := decideVolume(role, content, cfg.Adopt)
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		return refused
	case err == nil && step != stepServe: // there the file may well be in place already
		return checkConfigDir(cfg.MySQLConfigDir)
	}
	return nil
}

// An initialiser is one run of agent init.
type initialiser struct {
	self
	vol     *volume.Volume
	board   *Board
	metrics *Metrics
	beat    *Heartbeat
	keys    *trust.Keys
}

// local takes every step that needs nobody else. It reports whether that was all.
func (i *initialiser) local(ctx context.Context) (done bool, err error) {
	for {
		content, err := i.vol.Inspect()
		if err != nil {
			return false, err
		}
		step, err := decideVolume(i.id.Role(), content, i.cfg.Adopt)
		if err != nil {
			return false, err
		}
		switch step {
		case stepServe:
			return true, i.configure(true)
		case stepAsk, stepClone:
			return false, nil
		}
		if err := i.change(ctx, step, content); err != nil {
			return false, err
		}
	}
}

// change takes one step that alters what the volume holds.
func (i *initialiser) change(ctx context.Context, step initStep, c *volume.Content) error {
	switch step {
	case stepResume:
		i.log.Info("finishing an interrupted change of the volume", zap.Stringer("volume", c.Kind), zap.String("change", c.Change))
		if c.Kind == volume.Switching {
			return i.vol.FinishSwitch()
		}
		return i.vol.Resume(ctx)
	case stepDiscard:
		i.log.Info("removing an unfinished copy", zap.Int("generation", c.Generation))
		return i.vol.Discard(ctx, c.Generation)
	case stepStartOver:
		where, err := i.vol.Quarantine(ctx, c.Generation, string(CodeInterruptedFirstStart))
		if err == nil {
			i.log.Warn("the first initialisation was interrupted: put aside, it starts over", zap.String("quarantine", where))
		}
		return err
	case stepAdopt:
		i.log.Info("adopting the data directory in the volume's root")
		return i.vol.Adopt(ctx, volume.Facts{})
	}
	return fmt.Errorf("init: step %d changes nothing", step)
}

// configure writes mysqld's configuration: the last thing agent init does.
func (i *initialiser) configure(hasData bool) error {
	changed, err := i.serverConfig(i.vol.DataDir(), hasData).write(i.cfg.MySQLConfigDir)
	if err == nil {
		i.log.Info("ready for mysqld", zap.Bool("has_data", hasData), zap.Bool("config_changed", changed))
	}
	return err
}

// withPlanes does the rest, answering probes and siblings meanwhile.
func (i *initialiser) withPlanes(ctx context.Context) error {
	status, err := ListenStatus(ctx, i.cfg.StatusListen)
	if err != nil {
		return err
	}
	data, err := ListenData(ctx, i.cfg.DataListen)
	if err != nil {
		return errors.Join(err, status.Close())
	}
	work, stop := context.WithCancel(ctx)
	defer stop()
	g, planes := errgroup.WithContext(work)
	g.Go(func() error {
		return (&StatusPlane{Listener: status, Board: i.board, Heartbeat: i.beat, Metrics: i.metrics.Handler()}).Run(planes)
	})
	g.Go(func() error {
		refuse := clone.RefuseAll(func() clone.Unfit { return *fitness(i.board.Status()) })
		return (&DataPlane{Listener: data, TLS: i.keys.ServerTLS(i.id.Pod), Board: i.board, Clone: refuse}).Run(planes)
	})
	var failed error
	g.Go(func() error {
		defer stop()
		failed = i.assemble(planes)
		return failed
	})
	err = g.Wait()
	if ctx.Err() != nil && failed != nil {
		return context.Cause(ctx)
	}
	return err
}

// assemble fills an empty volume, or leaves it empty for the image's first initialisation.
func (i *initialiser) assemble(ctx context.Context) error {
	var err error
	if i.id.Role() == RoleSource {
		err = i.startEmpty(ctx)
	} else {
		err = i.clone(ctx)
	}
	var refused *RefusedError
	if errors.As(err, &refused) {
		i.board.Update(func(s *Status) { s.State, s.Reasons = StateRefused, []Reason{refused.Reason} })
	}
	return err
}

// startEmpty lets the source start empty once it is certain that nobody has data.
func (i *initialiser) startEmpty(ctx context.Context) error {
	window := time.Now().Add(i.cfg.DiscoveryWindow)
	wait := newBackoff()
	for {
		i.beat.Beat()
		found, err := i.askSiblings(ctx)
		if err != nil {
			return err
		}
		found.WindowOver = time.Now().After(window)
		step, reasons, err := decideEmptySource(found)
		if err != nil {
			return err
		}
		if step == stepEmpty {
			i.log.Info("nobody has data: leaving the volume to the image's first initialisation",
				zap.Int("siblings", len(found.Siblings)), zap.Stringers("overridden", reasons))
			if _, err := i.vol.PrepareEmpty(); err != nil {
				return err
			}
			return i.configure(false)
		}
		i.wait(StateWaitingForSiblings, DataNo, reasons)
		if err := wait.sleep(ctx); err != nil {
			return err
		}
	}
}

// askSiblings asks all of them at once.
func (i *initialiser) askSiblings(ctx context.Context) (emptySource, error) {
	found := emptySource{AllowEmpty: i.cfg.AllowEmptySource, Listed: i.cfg.Replicas > 0}
	ordinals, err := i.peers.Siblings(ctx, net.DefaultResolver)
	var dns *DiscoveryError
	switch {
	case errors.As(err, &dns) && dns.Reach != NotFound:
		found.DiscoveryErr = err
	case err != nil && dns == nil:
		return found, err // nothing that waiting would change
	}
	found.Siblings = askAll(ctx, &PeerClient{Peers: i.peers, TLS: i.keys}, ordinals)
	return found, nil
}

// wait says on the board and, when it is news, in the log what is waited for.
func (i *initialiser) wait(state State, has HasData, reasons []Reason) {
	before := i.board.Status()
	i.board.Update(func(s *Status) { s.State, s.HasData, s.Reasons, s.Clone = state, has, reasons, nil })
	if before.State != state || !sameReasons(before.Reasons, reasons) {
		i.log.Info("waiting", zap.String("state", string(state)), zap.Stringers("reasons", reasons))
	}
}

func sameReasons(a, b []Reason) bool {
	if len(a) != len(b) {
		return false
	}
	for n := range a {
		if a[n] != b[n] {
			return false
		}
	}
	return true
}
