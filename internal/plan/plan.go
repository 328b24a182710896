// Package plan makes several changes to a directory tree as one: they are all made, however often the process is killed or
// the machine loses power in between.
//
// A [Plan] is a list of steps. [Plan.SaveAndRun] writes it down durably before the first step, notes each step as done once
// that step is durable, and removes the file durably after the last. After a crash [Load] finds the file and [Plan.Run]
// goes on where it stopped. So at most one step, the one that was interrupted, runs twice; every step can tell that it was
// done already. A plan whose steps are all noted as done never runs again, it is only removed.
//
// A plan goes forward only, there is no undo: check what can be checked before saving it. A step never replaces something
// that it did not expect; it then fails with [ErrConflict] and the plan stays, to be run again once a person has looked.
//
// All names are relative to one [os.Root], of which a plan never leaves, and no directory on the way may be a symbolic link.
package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"ordinal/internal/atomicfile"
)

var (
	// ErrUnderWay means that a plan is saved already; run that one first.
	ErrUnderWay = errors.New("another change is under way")
	// ErrConflict means that a step met something that it must not replace, or that what it works on is gone.
	ErrConflict = errors.New("not as the plan expects")
	// ErrDamaged means that the file holds no plan that this version can run.
	ErrDamaged = errors.New("damaged plan")
)

const (
	format  = 1
	maxFile = 64 << 20 // bytes; a plan that moves 100 000 names has some megabytes
)

// A Plan is a list of steps under a description. Build it with the methods named like the steps. Not safe for concurrent use.
type Plan struct {
	Format int `json:"format"`
	// Description says what the whole plan is for, for an operator: "adopt the data directory …".
	Description string `json:"description"`
	// Done is the number of leading steps known to be durable.
	Done  int    `json:"done"`
	Steps []Step `json:"steps"`
}

// New returns an empty plan.
func New(description string) *Plan { return &Plan{Format: format, Description: description} }

// Load reads the plan saved as file. The error is [fs.ErrNotExist] if there is none, or [ErrDamaged].
func Load(root *os.Root, file string) (*Plan, error) {
	full := filepath.Join(root.Name(), file)
	if err := CheckDir(root, path.Dir(file)); err != nil {
		return nil, fmt.Errorf("load plan: %w", err)
	}
	st, err := root.Lstat(file)
	if err != nil {
		return nil, fmt.Errorf("load plan %s: %w", full, err)
	}
	if !st.Mode().IsRegular() || st.Size() > maxFile {
		return nil, fmt.Errorf("load plan %s: %w: not a regular file of at most %d bytes", full, ErrDamaged, maxFile)
	}
	f, err := root.Open(file)
	if err != nil {
		return nil, fmt.Errorf("load plan %s: %w", full, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("load plan %s: %w", full, err)
	}
	p := new(Plan)
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("load plan %s: %w: %v", full, ErrDamaged, err)
	}
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("load plan %s: %w: %v", full, ErrDamaged, err)
	}
	return p, nil
}

func (p *Plan) validate() error {
	if p.Format != format {
		return fmt.Errorf("format %d, this version knows %d", p.Format, format)
	}
	if p.Done < 0 || p.Done > len(p.Steps) {
		return fmt.Errorf("%d of %d steps done", p.Done, len(p.Steps))
	}
	for i := range p.Steps {
		if err := p.Steps[i].validate(); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

// SaveAndRun saves the plan as file, whose directory must exist, and runs it. [ErrUnderWay] if file exists, [ErrConflict] without
// having saved it if a Move would meet a name that is taken.
func (p *Plan) SaveAndRun(ctx context.Context, root *os.Root, file string) error {
	if err := p.validate(); err != nil {
		return fmt.Errorf("%s: %w", p.Description, err)
	}
	if _, err := root.Lstat(file); err == nil {
		return fmt.Errorf("%s: %w: %s exists", p.Description, ErrUnderWay, filepath.Join(root.Name(), file))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: save plan %s: %w", p.Description, filepath.Join(root.Name(), file), err)
	}
	for _, s := range p.Steps[p.Done:] {
		if err := s.expect(root); err != nil {
			return fmt.Errorf("%s: %v, in %s: %w", p.Description, s, root.Name(), err)
		}
	}
	if err := p.save(root, file); err != nil {
		return err
	}
	return p.run(ctx, root, file)
}

// Run makes the steps not yet noted as done and removes file. It may be called again after any error. When ctx ends it
// stops between two steps, or between two names of one step, and returns the cause.
func (p *Plan) Run(ctx context.Context, root *os.Root, file string) error {
	// The file may be from a run that was interrupted before its name was synced; no step may be made before that.
	if err := atomicfile.SyncRootDir(root, path.Dir(file)); err != nil {
		return fmt.Errorf("%s: %w", p.Description, err)
	}
	return p.run(ctx, root, file)
}

func (p *Plan) run(ctx context.Context, root *os.Root, file string) error {
	for p.Done < len(p.Steps) {
		s := p.Steps[p.Done]
		if err := s.run(ctx, root); err != nil {
			return fmt.Errorf("%s: step %d of %d, %v, in %s: %w", p.Description, p.Done+1, len(p.Steps), s, root.Name(), err)
		}
		// Noted even after the last step: should the removal below be lost, the plan is known to be finished.
		p.Done++
		if err := p.save(root, file); err != nil {
			p.Done--
			return err
		}
	}
	if err := remove(root, file); err != nil {
		return fmt.Errorf("%s: remove finished plan %s: %w", p.Description, filepath.Join(root.Name(), file), err)
	}
	return nil
}

func (p *Plan) save(root *os.Root, file string) error {
	data, err := json.MarshalIndent(p, "", "\t")
	if err == nil {
		err = atomicfile.WriteRoot(root, file, append(data, '\n'), 0o640)
	}
	if err != nil {
		return fmt.Errorf("%s: save plan: %w", p.Description, err)
	}
	return nil
}
