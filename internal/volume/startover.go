package volume

import (
	"context"
	"fmt"
	"path"

	"ordinal/internal/plan"
)

// StartOver gives up on the first initialisation of generation n, which is [NeverCompleted]: current points to a new, empty
// directory from then on, and the old one is in quarantine under the returned name. There is no moment without current: the
// image's entry point would make a directory of that name. A mysqld that still works on the old directory takes it along;
// the caller ends it. Once begun, it is finished by [Volume.Resume] after a crash.
func (v *Volume) StartOver(ctx context.Context, n int, reason string) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	name, err := v.startOver(ctx, n, reason)
	if err != nil {
		return "", fmt.Errorf("start the first initialisation of generation %d over: %w", n, v.writable(err))
	}
	return name, nil
}

func (v *Volume) startOver(ctx context.Context, n int, reason string) (string, error) {
	if !reasonPattern.MatchString(reason) {
		return "", state("%q is not a reason code", reason)
	}
	c, err := inspect(v.root)
	if err != nil {
		return "", err
	}
	if c.Kind != NeverCompleted || c.Generation != n {
		return "", state("the volume is %v, with generation %d", c.Kind, c.Generation)
	}
	next, err := c.next()
	if err != nil {
		return "", err
	}
	record, err := marshal(Record{Format: recordFormat, Number: next, Origin: OriginInitialised, State: StateBuilding, CreatedAt: now()})
	if err != nil {
		return "", err
	}
	q := Quarantined{Reason: reason, Generation: n, WasCurrent: true}
	name := c.quarantineName(&q)
	p := plan.New(fmt.Sprintf("start over in %s, with %s put aside as %s", genPath(next), genPath(n), path.Join(quarantineDir, name)))
	p.WriteFile(recordPath(next), record, fileMode)
	p.Mkdir(genPath(next), dirMode)
	p.Symlink(genPath(next), currentLink)
	if err := v.takeOut(p, c, q, name); err != nil {
		return "", err
	}
	return name, p.SaveAndRun(ctx, v.root, planFile)
}
