package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"time"

	"ordinal/internal/plan"
)

// Quarantined is what quarantine/<name>/reason.json says of the data directory beside it.
type Quarantined struct {
	Format     int       `json:"format"`
	Reason     string    `json:"reason"`
	At         time.Time `json:"at"`
	Generation int       `json:"generation"`
	WasCurrent bool      `json:"was_current"`
	Record     *Record   `json:"record,omitempty"` // nil if it had none
}

var reasonPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// Quarantine takes generation n out of service: its directory is renamed to quarantine/<UTC time>-<reason>/data, so nothing is
// copied and nothing lost, and current is removed if it points there. reason is a code like "never_completed":
// letters, digits, `_`, `-`. It returns the name in quarantine/. [ErrInUse] while a mysqld works on it. Once begun, it is
// finished by [Volume.Resume] after a crash.
func (v *Volume) Quarantine(ctx context.Context, n int, reason string) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	name, err := v.quarantine(ctx, n, reason)
	if err != nil {
		return "", fmt.Errorf("quarantine generation %d: %w", n, v.writable(err))
	}
	return name, nil
}

func (v *Volume) quarantine(ctx context.Context, n int, reason string) (string, error) {
	if !reasonPattern.MatchString(reason) {
		return "", state("%q is not a reason code", reason)
	}
	// Not inspect: a damaged layout is often why it is called. What is used here is checked all the same.
	c, err := look(v.root)
	if err != nil {
		return "", err
	}
	if err := checkLayoutDir(v.root, genPath(n)); err != nil {
		return "", err
	}
	if err := v.refuseInUse(n); err != nil {
		return "", err
	}
	q := Quarantined{Format: recordFormat, Reason: reason, At: now(), Generation: n, WasCurrent: c.Current == n, Record: c.record(n)}
	name := c.quarantineName(q)
	data, err := marshal(q)
	if err != nil {
		return "", err
	}
	to := path.Join(quarantineDir, name)
	p := plan.New(fmt.Sprintf("quarantine %s as %s", genPath(n), to))
	p.Mkdir(quarantineDir, dirMode)
	p.Mkdir(to, dirMode)
	p.WriteFile(path.Join(to, "reason.json"), data, fileMode)
	if q.WasCurrent {
		p.Remove(currentLink)
	}
	p.Rename(genPath(n), path.Join(to, "data"))
	p.Remove(recordPath(n)) // last: a directory without a record would be damage
	return name, p.SaveAndRun(ctx, v.root, planFile)
}

// Resume finishes the adoption or quarantine that [ChangeUnderWay] reports; it does nothing if there is none.
func (v *Volume) Resume(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	err := v.resume(ctx)
	if err != nil {
		return fmt.Errorf("resume: %w", v.writable(err))
	}
	return nil
}

func (v *Volume) resume(ctx context.Context) error {
	p, err := plan.Load(v.root, planFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.Run(ctx, v.root, planFile)
}
