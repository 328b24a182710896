package clone

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ordinal/stream"
)

// eventful returns a small model with every kind of change in both batches, and a file that vanishes in a stage.
func eventful() *model {
	for seed := uint64(0); ; seed++ {
		m := newModel(rand.New(rand.NewPCG(seed, 7)))
		copied, paged, redone := m.stages[0], m.stages[1], m.stages[2]
		if len(copied.gone) > 0 && len(copied.chunks) < 8 && len(paged.chunks) > 2 && everyChange(paged.batch) && everyChange(redone.batch) {
			return m
		}
	}
}

// everyChange reports whether a batch renames, drops and creates.
func everyChange(batch []stream.File) bool {
	has := func(flag uint16) bool {
		return slices.ContainsFunc(batch, func(f stream.File) bool { return f.Flags == flag })
	}
	return has(stream.FlagRenamed) && has(stream.FlagDeleted) && has(0)
}

// A history is a copy of a model that is made on a faulty disk, by one process after another.
type history struct {
	dir       generationDir
	disk      *faultyDisk
	donor     *modelDonor
	life      int
	begun     int  // how often it was begun from nothing
	finishing bool // Finish was called
}

// run makes the copy: each life ends with the first error, as a process's does. betweenLives may prepare the next one.
func (h *history) run(betweenLives func()) error {
	for ; h.life < 8; h.life++ {
		err := h.live()
		if err == nil {
			return errors.Join(h.donor.check(h.dir.path), h.dir.marked())
		}
		h.disk.restart()
		if markErr := h.dir.marked(); markErr != nil || errors.Is(err, errBehind) || errors.Is(err, ErrSaved) {
			return errors.Join(err, markErr)
		}
		betweenLives()
	}
	return errors.New("it does not come to an end")
}

// open takes up what the life before has left, or begins.
func (h *history) open() (*Directory, error) {
	d, _, err := loadDirectory(h.disk)
	if !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	if h.begun++; h.donor.confirmed != 0 && !h.finishing {
		return nil, fmt.Errorf("nothing is saved: %w", errBehind)
	}
	h.donor.confirmed, h.donor.told, h.finishing = 0, nil, false // this is another snapshot
	h.dir.clear()
	h.disk.forget()
	return newDirectory(h.disk, nine), nil
}

// live makes as much of the copy as it can. It is cut and saved at fixed places.
func (h *history) live() error {
	d, err := h.open()
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	events := 0
	tr := &sending{donor: h.donor, dir: d, dice: rand.New(rand.NewPCG(uint64(h.life), 9)), tasks: 3}
	tr.between = func() error {
		switch events++; {
		case events%25 == 0:
			return errCut
		case events%10 == 0:
			return d.Save(context.Background(), []byte("note"))
		}
		return nil
	}
	for err = errCut; errors.Is(err, errCut); {
		tr.inFlight = nil
		if err = tr.run(); errors.Is(err, errCut) {
			d.Interrupt()
		}
	}
	if err == nil {
		h.finishing = true
		_, err = d.Finish("donor", begunAt)
	}
	return err
}

// newHistory begins one in an empty directory.
func newHistory(dir generationDir, m *model) *history {
	dir.renew()
	root, err := os.OpenRoot(dir.path)
	must(dir.t, err)
	return &history{dir: dir, disk: newFaultyDisk(dir.t, root), donor: &modelDonor{model: m}}
}

func (h *history) close() { _ = h.disk.real.root.Close() }

// TestFaultPoints lets every single operation on the disk of a copy fail in every way, one at a time. However it ends, the copy is
// complete and right afterwards, or the next process goes on with what is saved, or finds nothing and begins again.
func TestFaultPoints(t *testing.T) {
	t.Parallel()
	m := eventful()
	for f := range faults {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			dir := newGenerationDir(t)
			outcomes, kinds := make(map[string]int), make(map[string]bool)
			for n, through := 1, false; !through && !t.Failed(); n++ {
				h := newHistory(dir, m)
				h.disk.arm(n, f)
				if err := h.run(func() {}); err != nil {
					t.Errorf("%v at call %d, %s: %v", f, n, h.disk.hit, err)
				}
				what, _, _ := strings.Cut(h.disk.hit, " ")
				kinds[what] = true
				switch {
				case h.disk.hit == "":
					through = true
				case h.life == 0:
					outcomes["did not matter"]++
				case h.begun > 1:
					outcomes["begun again"]++
				default:
					outcomes["went on"]++
				}
				h.close()
			}
			t.Logf("%v in %v", outcomes, slices.Sorted(maps.Keys(kinds)))
		})
	}
}

// TestFaultPointsAfterCrash lets a process die at every operation, and then the one that takes up what it has left fail at several of
// its own.
func TestFaultPointsAfterCrash(t *testing.T) {
	t.Parallel()
	m, dir, r := eventful(), newGenerationDir(t), rand.New(rand.NewPCG(5, 6))
	for n, through := 1, false; !through && !t.Failed(); n++ {
		h := newHistory(dir, m)
		h.disk.arm(n, [...]fault{crash, powerLoss}[n%2])
		story := ""
		err := h.run(func() {
			story += fmt.Sprintf(" %v at %s,", h.disk.fault, h.disk.hit)
			if h.life < 3 {
				h.disk.arm(1+r.IntN(30), fault(r.IntN(int(faults))))
			}
		})
		if err != nil {
			t.Errorf("after%s: %v", story, err)
		}
		through = story == ""
		h.close()
	}
}

// clear empties it but for the marker, and stays the same directory.
func (g generationDir) clear() {
	for _, name := range append(g.names(), cloneDir) {
		must(g.t, os.RemoveAll(filepath.Join(g.path, name)))
	}
	must(g.t, os.Mkdir(filepath.Join(g.path, cloneDir), 0o750))
	must(g.t, os.WriteFile(filepath.Join(g.path, inProgress), nil, 0o640))
}

func (g generationDir) names() (names []string) {
	entries, err := os.ReadDir(g.path)
	must(g.t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
