package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
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
	if errors.Is(err, volume.ErrLocked) && cfg.SkipIfServed && self.isServed() {
		log.Info("nothing to do: an agent has this volume, and its data is complete")
		return nil
	}
	if err != nil {
		return err
	}
	defer vol.Close() // ends with the process in any case

	board := NewBoard(self.id, PhaseInit, cfg.AgentVersion)
	i := &initialiser{self: self, vol: vol, board: board, metrics: NewMetrics(board, cfg.AgentVersion), beat: NewHeartbeat(initBeat)}
	if done, err := i.local(ctx); done || err != nil {
		return err
	}
	if i.keys, err = trust.LoadRing(cfg.SecretFile); err != nil {
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
	step, err := decideVolume(role, content, cfg.Adopt, nil, false)
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
	keys    *trust.Ring
}

// local takes every step that needs nobody else. It reports whether that was all.
func (i *initialiser) local(ctx context.Context) (done bool, err error) {
	for {
		content, err := i.vol.Inspect()
		if err != nil {
			return false, err
		}
		request, err := i.vol.Request()
		if err != nil {
			return false, err
		}
		begun, err := i.vol.SwitchBegun()
		if err != nil {
			return false, err
		}
		p, err := planVolume(i.id, content, i.cfg.Adopt, request, begun)
		if err != nil {
			return false, err
		}
		i.board.SetPlan(p)
		switch p.step {
		case stepServe:
			if err := i.ownUUID(ctx, content); err != nil {
				return false, err
			}
			return true, i.configure(true)
		case stepAsk, stepClone, stepPutAside:
			return false, nil
		}
		if err := i.change(ctx, p.step, content, request); err != nil {
			return false, err
		}
	}
}

// change takes one step that alters what the volume holds.
func (i *initialiser) change(ctx context.Context, step initStep, c *volume.Content, request *volume.Request) error {
	switch step {
	case stepResume:
		i.log.Info("finishing an interrupted change of the volume", zap.Stringer("volume", c.Kind), zap.String("change", c.Change))
		if c.Kind == volume.Switching {
			return i.vol.FinishSwitch()
		}
		return i.vol.Resume(ctx)
	case stepDiscard:
		i.log.Info("removing what was prepared for a first initialisation", zap.Int("generation", c.Generation))
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
	case stepUndo:
		return i.undo(ctx, request)
	}
	return fmt.Errorf("init: step %d changes nothing", step)
}

// ownUUID makes mysqld take a new server_uuid where the data directory may have come with another pod's auto.cnf: it must not run under
// that name for a moment. A copy that nobody has set up yet gets one as well, which costs nothing.
func (i *initialiser) ownUUID(ctx context.Context, c *volume.Content) error {
	identity, err := i.vol.Identity()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if c.Record == nil || !copied(c.Record.Origin) {
			return nil
		}
	case err != nil:
		return err
	case identity.Pod == "" || identity.Pod == i.id.Pod:
		has, err := i.serverUUID(c)
		if err != nil || has == "" || has == identity.ServerUUID {
			return err
		}
	}
	if c.Kind != volume.Complete {
		return nil
	}
	i.log.Warn("this volume's data has not been set up for this pod: mysqld gets a new server_uuid", zap.String("was", identity.Pod))
	return i.vol.ForgetServerUUID(ctx, c.Generation)
}

// serverUUID is the one in auto.cnf, with which mysqld would start; "" if there is none yet.
func (i *initialiser) serverUUID(c *volume.Content) (string, error) {
	gen, err := i.vol.Generation(c.Generation)
	if err != nil {
		return "", err
	}
	defer gen.Close()
	text, err := gen.Root().ReadFile("auto.cnf")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && key == "server-uuid" {
			return value, nil
		}
	}
	return "", err
}

// undo brings data back from quarantine. What cannot be brought back is said to who asked; the pod goes on with what it has.
func (i *initialiser) undo(ctx context.Context, request *volume.Request) error {
	err := i.vol.Undo(ctx, request.Name, whyUndo(request))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	outcome := undone(request.Name)
	if err != nil {
		outcome = err.Error()
	}
	i.log.Warn("undo", zap.String("quarantine", request.Name), zap.String("outcome", outcome))
	return i.vol.CloseRequest(request.ID, outcome, err != nil)
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
		refuse := clone.RefuseAll(func() clone.Unfit { return *fitness(i.board.Status(), RoleReplica) })
		return (&DataPlane{Listener: data, TLS: i.keys.ServerTLS(i.id.Pod), Board: i.board, Clone: refuse}).Run(planes)
	})
	g.Go(func() error { return i.keys.Run(planes) })
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
	c := i.cloner(time.Now())
	err := i.putAside(ctx, c)
	copied := false
	if err == nil {
		copied, err = c.run(ctx)
	}
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		i.board.Update(func(s *Status) { s.State, s.Reasons = StateRefused, []Reason{refused.Reason} })
		return err
	case err != nil:
		return err
	case copied:
		return i.configure(true)
	}
	restored, err := i.restoreAtBirth(ctx, &c.waiter)
	switch {
	case errors.As(err, &refused):
		i.board.Update(func(s *Status) { s.State, s.Reasons = StateRefused, []Reason{refused.Reason} })
		return err
	case err != nil:
		return err
	case restored:
		return i.configure(true)
	}
	i.log.Info("nobody has data: leaving the volume to the image's first initialisation")
	if _, err := i.vol.PrepareEmpty(); err != nil {
		return err
	}
	return i.configure(false)
}

// putAside takes a source's data out of service because somebody asked for it, once it is certain that its siblings can give it theirs.
func (i *initialiser) putAside(ctx context.Context, c *cloner) error {
	request, err := i.vol.Request()
	if err != nil || request == nil || request.Kind != volume.RequestRebuild {
		return err
	}
	content, err := i.vol.Inspect()
	if err != nil || content.Kind != volume.Complete {
		return err
	}
	for {
		i.beat.Beat()
		next, err := c.next(ctx)
		var refused *RefusedError
		switch {
		case errors.As(err, &refused):
			return errors.Join(i.vol.CloseRequest(request.ID, err.Error(), true), err)
		case err != nil:
			return err
		case next.Step == donorWait:
			if err := c.waitForDonors(ctx, next.Reasons); err != nil {
				return err
			}
			continue
		case next.Step != donorAsk:
			why := "no sibling has data: this pod's is the only one"
			return errors.Join(i.vol.CloseRequest(request.ID, why, true), &RefusedError{
				Reason: NewReason(CodeRequested, "rebuild: %s", why), Remedy: "nothing was changed; start the pod again",
			})
		}
		where, err := i.vol.Quarantine(ctx, content.Generation, string(CodeRequested))
		if err != nil {
			return err
		}
		i.log.Warn("this source's data is put aside, as somebody asked", zap.String("quarantine", where), zap.String("donor", next.Answer.Pod))
		return i.vol.CloseRequest(request.ID, "the data is in quarantine as "+where+"; cloning from "+next.Answer.Pod, false)
	}
}

// cloner is agent init's: what happens to the copy is all there is to say of the pod.
// Nothing counts that siblings of a source observed before since.
func (i *initialiser) cloner(since time.Time) *cloner {
	c := newCloner(i.workshop())
	c.choose = c.fromPrevious
	if i.id.Role() == RoleSource {
		c.choose = newSourceChooser(c, since).choose
	}
	c.planned = i.board.SetPlan
	return c
}

// workshop is agent init's.
func (i *initialiser) workshop() workshop {
	return workshop{
		self: i.self, vol: i.vol, keys: i.keys, metrics: i.metrics, beat: i.beat.Beat,
		show: func(now showing) {
			i.board.Update(func(s *Status) {
				s.State, s.HasData, s.Reasons, s.Clone = now.State, now.HasData, now.Reasons, now.Clone
			})
		},
	}
}
