package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"

	"ordinal/internal/atomicfile"
	"ordinal/internal/plan"
)

// Undo brings the data directory quarantine/<name> back: it becomes the newest complete generation, under a new number, and what was
// exported of it comes along. From there on everything is as after [Volume.Complete]: current points to it at once, or with
// [Volume.FinishSwitch] if a mysqld works on the generation that was current until now, and [Volume.Retire] takes that one to
// quarantine, for the reason why, whose Generation is filled in. So nothing is lost, and an undo can be undone.
//
// [ErrState] if the data never was complete, if a copy is under construction (discard it first), or if the volume
// is neither [Complete] nor [Empty]; [fs.ErrNotExist] if there is no such entry. Once begun, it is finished by [Volume.Resume] after a crash.
func (v *Volume) Undo(ctx context.Context, name string, why Replacement) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.undo(ctx, name, why); err != nil {
		return fmt.Errorf("undo quarantine %s: %w", name, v.writable(err))
	}
	return nil
}

func (v *Volume) undo(ctx context.Context, name string, why Replacement) error {
	c, err := inspect(v.root)
	if err != nil {
		return err
	}
	if c.Kind != Complete && c.Kind != Empty {
		return state("the volume is %v", c.Kind)
	}
	if b, ok := c.Building(); ok {
		return state("generation %d is under construction: discard it first", b.Number)
	}
	dir, err := quarantinePath(name)
	if err != nil {
		return err
	}
	record, err := v.undoable(dir)
	if err != nil {
		return err
	}
	record.Format, record.Replaces, record.ServedAt = recordFormat, nil, nil
	if record.Number, err = c.next(); err != nil {
		return err
	}
	if why.Generation = c.Generation; c.Kind == Complete {
		record.Replaces = &why
	}
	if err := record.validate(record.Number); err != nil {
		return state("%v", err)
	}
	p, err := v.undoPlan(dir, record)
	if err != nil {
		return err
	}
	if err := p.SaveAndRun(ctx, v.root, planFile); err != nil {
		return err
	}
	return v.finishIfFree(c, record.Number)
}

// undoable returns the record of the data in the entry dir if a mysqld may start on it.
func (v *Volume) undoable(dir string) (Record, error) {
	if err := checkLayoutDir(v.root, dir); err != nil {
		return Record{}, err
	}
	q, err := readReason(v.root, dir)
	if err != nil {
		return Record{}, err
	}
	if q.Record == nil || q.Record.State != StateComplete {
		return Record{}, state("this data never was complete (%s), so no mysqld is to be started on it; copy what you need out of %s",
			q.Reason, filepath.Join(v.path, dir, dataDir))
	}
	data, err := openDir(v.root, path.Join(dir, dataDir))
	if err != nil {
		return Record{}, err
	}
	defer data.Close()
	if !adoptable(data) {
		return Record{}, state("%s is not a data directory: no mysql/ or no ibdata1", data.Name())
	}
	barred, err := v.barred(path.Join(dir, dataDir))
	if err != nil {
		return Record{}, err
	}
	if _, err := data.Lstat(markerFile); err == nil && !barred {
		return Record{}, state("%s exists: a clone into this directory was interrupted, its data is not complete", filepath.Join(data.Name(), markerFile))
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Record{}, fmt.Errorf("in %s: %w", data.Name(), err)
	}
	used, err := inUse(v.root, path.Join(dir, dataDir), &v.lockouts)
	if err == nil && used {
		err = &refusal{ErrInUse, data.Name(), "stop that mysqld first"}
	}
	return *q.Record, err
}

func (v *Volume) undoPlan(dir string, r Record) (*plan.Plan, error) {
	record, err := marshal(r)
	if err != nil {
		return nil, err
	}
	names, err := readNames(v.root, dir)
	if err != nil {
		return nil, err
	}
	p := plan.New(fmt.Sprintf("bring %s back as %s", dir, genPath(r.Number)))
	p.WriteFile(recordPath(r.Number), record, fileMode)
	p.Mkdir(genDir, dirMode)
	p.Rename(path.Join(dir, dataDir), genPath(r.Number))
	p.Mkdir(errantDir, dirMode)
	for _, name := range names {
		m := besideName.FindStringSubmatch(name)
		switch {
		case m != nil:
			p.Rename(path.Join(dir, name), export{r.Number, m[1]}.path())
		case atomicfile.IsTemp(name): // left by a crash
			p.Remove(path.Join(dir, name))
		case name != dataDir && name != reasonFile:
			return nil, state("%s is none of the agent's files: move it out of the volume", filepath.Join(v.path, dir, name))
		}
	}
	p.Remove(path.Join(dir, reasonFile))
	p.Remove(dir)
	return p, nil
}
