package agent

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"ordinal/internal/trust"
	"ordinal/internal/volume"
)

// PlanInit returns what agent init would do next with this pod's volume. It asks whom agent init would ask, takes no lock and changes
// nothing. A guard's no is a plan to refuse together with its *RefusedError.
func PlanInit(ctx context.Context, cfg Config, log *zap.Logger) (*Plan, error) {
	self, err := newSelf(cfg, log)
	if err != nil {
		return nil, err
	}
	content, err := volume.Inspect(cfg.Volume)
	if err != nil {
		return nil, err
	}
	request, err := volume.Requested(cfg.Volume)
	if err != nil && !errors.Is(err, volume.ErrState) { // no agent has ever worked on this volume
		return nil, err
	}
	p, err := planVolume(self.id, content, cfg.Adopt, request, false)
	if err != nil {
		return refusal(self.id, content, err)
	}
	switch p.step {
	case stepAsk, stepClone, stepPutAside:
		return planCopy(ctx, self, content, p)
	}
	return p, nil
}

// planCopy asks the other pods.
func planCopy(ctx context.Context, self self, content *volume.Content, local *Plan) (*Plan, error) {
	keys, err := trust.LoadRing(self.cfg.SecretFile)
	if err != nil {
		return nil, err
	}
	board := NewBoard(self.id, PhaseInit, self.cfg.AgentVersion)
	i := &initialiser{self: self, board: board, metrics: NewMetrics(board, self.cfg.AgentVersion), beat: NewHeartbeat(initBeat), keys: keys}
	c := i.cloner(time.Time{}) // it asks but once
	if record, ok := content.Building(); ok {
		c.donor = record.Donor
	}
	next, err := c.next(ctx)
	if err != nil {
		p, err := refusal(self.id, content, err)
		if p != nil {
			p.Siblings = siblings(c.asked)
		}
		return p, err
	}
	p := c.plan(next)
	if next.Step == donorNoData {
		if p, err = i.birthPlan(ctx, p); err != nil {
			p, err = refusal(self.id, content, err)
		}
		if p == nil {
			return nil, err
		}
		p.Siblings = siblings(c.asked)
	}
	p.Volume, p.GTIDExecuted = local.Volume, local.GTIDExecuted
	if local.step == stepPutAside {
		p.Quarantined = "the present data, as somebody asked"
	}
	return p, err
}

// birthPlan is what follows when nobody has data: empty, or what the set's store has.
func (i *initialiser) birthPlan(ctx context.Context, empty *Plan) (*Plan, error) {
	b, err := i.planBirth(ctx)
	if b == nil || err != nil {
		return empty, err
	}
	p := newPlan(i.id).because(b.reason())
	p.Decision, p.BytesNeeded = DecideRestore, &b.manifest.Bytes
	if free, _, err := space(i.cfg.Volume); err == nil {
		p.BytesFree = &free
	}
	return p, nil
}

// refusal makes a plan of a guard's no.
func refusal(id Identity, content *volume.Content, err error) (*Plan, error) {
	var refused *RefusedError
	if !errors.As(err, &refused) {
		return nil, err
	}
	p := newPlan(id).because(refused.Reason)
	p.Decision, p.Volume = DecideRefuse, content.Kind.String()
	return p, err
}
