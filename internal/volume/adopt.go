package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ordinal/internal/plan"
)

// Adopt makes the data directory in the volume's root ([Foreign] and Adoptable) the current generation, by renaming all
// of its entries but lost+found and those with a leading dot. Nothing is copied. Its server must have been stopped: [ErrInUse].
// [ErrForeign] with the names if the root holds no data directory, or a database with a name that the agent needs
// (agent, gen, quarantine, current); [ErrState] in all other states. Once begun it goes forward only; after a crash
// [Volume.Resume] finishes it. A mysqld still configured for the root refuses to start meanwhile; the auto.cnf that it leaves there
// stays there.
func (v *Volume) Adopt(ctx context.Context, facts Facts) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.adopt(ctx, facts); err != nil {
		return fmt.Errorf("adopt the data directory in %s: %w", v.path, v.writable(err))
	}
	return nil
}

func (v *Volume) adopt(ctx context.Context, facts Facts) error {
	c, err := inspect(v.root)
	if err != nil {
		return err
	}
	switch {
	case c.Kind != Foreign:
		return state("the volume is %v", c.Kind)
	case !c.Adoptable:
		return &refusal{ErrForeign, fmt.Sprintf("%s; without mysql/ and ibdata1 it is not a data directory", strings.Join(c.Foreign, ", ")),
			"move these away if they are not needed, or give the pod an empty volume"}
	}
	for _, dir := range []string{genDir, quarantineDir} {
		if err := v.refuseSchema(dir); err != nil {
			return err
		}
	}
	for _, name := range c.Foreign {
		if strings.Contains(name, "/") { // gen/something
			return &refusal{ErrForeign, filepath.Join(v.path, name), "move it out of the volume"}
		}
	}
	used, err := inUse(v.root, ".", &v.lockouts)
	if err != nil {
		return err
	}
	if used {
		return &refusal{ErrInUse, v.path, "stop that mysqld first"}
	}
	switch _, err := v.root.Lstat(markerFile); {
	case err == nil:
		return state("%s exists: a clone into this directory was interrupted, its data is not complete", filepath.Join(v.path, markerFile))
	case !errors.Is(err, fs.ErrNotExist):
		return v.pathErr(err, ".")
	}
	p, err := adoptionPlan(c, facts)
	if err != nil {
		return err
	}
	return p.SaveAndRun(ctx, v.root, planFile)
}

func adoptionPlan(c *Content, facts Facts) (*plan.Plan, error) {
	n, err := c.next()
	if err != nil {
		return nil, err
	}
	done := now()
	record, err := marshal(Record{Format: recordFormat, Number: n, Origin: OriginAdopted, State: StateComplete, Facts: facts, CreatedAt: done, CompletedAt: &done})
	if err != nil {
		return nil, err
	}
	rest := slices.DeleteFunc(slices.Clone(c.Foreign), func(name string) bool { return name == "mysql" || name == cloneDir })
	dir := genPath(n)
	p := plan.New("adopt the data directory in the root as " + dir)
	p.Mkdir(cloneDir, dirMode)
	p.WriteFile(markerFile, nil, fileMode)
	p.Mkdir(genDir, dirMode)
	p.Mkdir(dir, dirMode)
	// An image's entry point takes a root without mysql/ for one to initialise, and that mysqld refuses to do beside other files.
	p.Move(".", dir, "mysql")
	p.Move(".", dir, rest...)
	p.Move(".", dir, cloneDir) // the guard goes last, and from here on guards the generation
	p.WriteFile(recordPath(n), record, fileMode)
	p.Remove(path.Join(dir, markerFile))
	p.Symlink(dir, currentLink)
	return p, nil
}
