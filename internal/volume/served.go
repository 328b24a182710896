package volume

import (
	"context"
	"fmt"

	"ordinal/internal/atomicfile"
)

// MarkServed durably records that the pod has been ready on generation n, the current one. Only the first call for a
// generation changes anything. [ErrState] if the volume is not [Complete] with that generation. When ctx has ended nothing
// is written.
func (v *Volume) MarkServed(ctx context.Context, n int) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.markServed(ctx, n); err != nil {
		return fmt.Errorf("mark generation %d served: %w", n, v.writable(err))
	}
	return nil
}

func (v *Volume) markServed(ctx context.Context, n int) error {
	c, err := inspect(v.root)
	if err != nil {
		return err
	}
	if c.Kind != Complete || c.Generation != n {
		return state("the volume is %v, with generation %d", c.Kind, c.Generation)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	r := *c.Record
	if r.ServedAt != nil {
		return atomicfile.SyncRootDir(v.root, agentDir) // seen is not synced
	}
	at := now()
	r.ServedAt = &at
	return writeRecord(v.root, r)
}
