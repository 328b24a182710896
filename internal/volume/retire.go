package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"ordinal/internal/plan"
)

// superseded is the reason code of a generation that was replaced by one whose record does not say why.
const superseded = "superseded"

// Retire takes the complete generations out of service that are older than the current one ([Content.Older]): each goes to
// quarantine, as with [Volume.Quarantine], for the reason that the record of its replacement gives. It returns their names in quarantine/,
// oldest first, also with an error. [ErrInUse] if a mysqld works on one of them; that one and those after it wait for another call, because
// what says why an older one was replaced must outlive it. [ErrState] before the switch. Each change, once begun, is
// finished by [Volume.Resume] after a crash.
//
// A mysqld that is just starting on one of them, which [Volume.FinishSwitch] all but excludes, does not come up there as long as the
// volume is open.
func (v *Volume) Retire(ctx context.Context) ([]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var names []string
	for {
		name, err := v.retireOldest(ctx)
		if err != nil {
			return names, fmt.Errorf("retire what was replaced: %w", v.writable(err))
		}
		if name == "" {
			return names, nil
		}
		names = append(names, name)
	}
}

// retireOldest returns "" if there is nothing left to do.
func (v *Volume) retireOldest(ctx context.Context) (string, error) {
	c, err := inspect(v.root)
	if err != nil {
		return "", err
	}
	if c.Kind == ChangeUnderWay || c.Kind == Switching {
		return "", state("the volume is %v", c.Kind)
	}
	older := c.Older()
	if len(older) == 0 {
		return "", nil
	}
	n := older[0].Number
	if err := checkLayoutDir(v.root, genPath(n)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = damaged(fmt.Sprintf("bring the directory back, or remove %s if its data is given up", recordPath(n)),
				"generation %d is recorded as complete, but %s is missing", n, genPath(n))
		}
		return "", err
	}
	if err := v.lockOut(n); err != nil {
		return "", err
	}
	q := c.whyReplaced(n)
	name := c.quarantineName(&q)
	p := plan.New(fmt.Sprintf("retire %s as %s", genPath(n), path.Join(quarantineDir, name)))
	if err := v.takeOut(p, c, q, name); err != nil {
		return "", err
	}
	return name, p.SaveAndRun(ctx, v.root, planFile)
}

// whyReplaced is what the record of a newer generation says of generation n.
func (c *Content) whyReplaced(n int) Quarantined {
	q := Quarantined{Reason: superseded, Generation: n, WasCurrent: true}
	for _, r := range c.Records {
		if why := r.Replaces; why != nil && why.Generation == n && r.State == StateComplete {
			q.Reason, q.Message, q.OnlyHere = why.Reason, why.Message, &why.OnlyHere
		}
	}
	return q
}
