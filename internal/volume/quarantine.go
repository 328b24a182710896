package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"time"

	"ordinal/internal/plan"
)

// Quarantined is what quarantine/<name>/reason.json says of the data directory beside it.
type Quarantined struct {
	Format     int       `json:"format"`
	Reason     string    `json:"reason"`
	Message    string    `json:"message,omitempty"`
	At         time.Time `json:"at"`
	Generation int       `json:"generation"`
	WasCurrent bool      `json:"was_current"`
	// OnlyHere is the GTID set of the transactions that no other pod had at that time, "" if there were none; nil: nobody knows.
	OnlyHere *string `json:"only_here,omitempty"`
	Record   *Record `json:"record,omitempty"` // nil if it had none
}

const (
	reasonFile = "reason.json"
	dataDir    = "data"

	// stamp is how a time is written in names.
	stamp = "20060102T150405Z"
)

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
	q := Quarantined{Reason: reason, Generation: n, WasCurrent: c.Current == n}
	name := c.quarantineName(&q)
	p := plan.New(fmt.Sprintf("quarantine %s as %s", genPath(n), path.Join(quarantineDir, name)))
	if q.WasCurrent {
		p.Remove(currentLink)
	}
	if err := v.takeOut(p, c, q, name); err != nil {
		return "", err
	}
	return name, p.SaveAndRun(ctx, v.root, planFile)
}

// quarantineName is a name in quarantine/ that is not taken. It dates q.
func (c *Content) quarantineName(q *Quarantined) string {
	q.At = now()
	base := q.At.Format(stamp) + "-" + q.Reason
	name := base
	for i := 2; slices.Contains(c.Quarantined, name) || slices.Contains(c.Dropping, name); i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	return name
}

// takeOut adds to p what takes q's generation out of service. What was exported of it goes along.
func (v *Volume) takeOut(p *plan.Plan, c *Content, q Quarantined, name string) error {
	q.Format, q.Record = recordFormat, c.record(q.Generation)
	why, err := marshal(q)
	if err != nil {
		return err
	}
	exports, err := v.exports(q.Generation)
	if err != nil {
		return err
	}
	barred, err := v.barred(genPath(q.Generation))
	if err != nil {
		return err
	}
	to := path.Join(quarantineDir, name)
	p.Mkdir(quarantineDir, dirMode)
	p.Mkdir(to, dirMode)
	p.WriteFile(path.Join(to, reasonFile), why, fileMode)
	for _, x := range exports {
		p.Rename(x.path(), path.Join(to, x.besideData()))
	}
	p.Rename(genPath(q.Generation), path.Join(to, dataDir))
	if barred { // nobody is to think that it is not whole
		p.Remove(path.Join(to, dataDir, markerFile))
	}
	p.Remove(recordPath(q.Generation)) // last: a directory without a record would be damage
	return nil
}

// Resume finishes the change that [ChangeUnderWay] reports; it does nothing if there is none.
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
