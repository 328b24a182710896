package clone

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"testing"

	"pgregory.net/rapid"
)

// rapidDice let rapid choose, and make smaller what fails.
type rapidDice struct{ *rapid.T }

func (r rapidDice) IntN(n int) int { return rapid.IntRange(0, n-1).Draw(r.T, "n") }

// A survey adds up what was sent more than once, and what may have been.
type survey struct {
	copies, cuts, deaths, restarts int
	size, sent, allowed            int
}

// survive makes one copy through cuts, checkpoints and deaths of the process at random, and checks it.
func (s *survey) survive(t rapidTB, dir generationDir, r dice) {
	dir.renew()
	root, err := os.OpenRoot(dir.path)
	must(dir.t, err)
	defer root.Close()
	donor := &modelDonor{model: newModel(r)}
	const chunkBytes = chunkPages * pageSize
	tasks, trouble := 1+r.IntN(4), 4+r.IntN(100)
	var d *Directory
	saved := 0 // donor.sent at the last checkpoint
	for life := 0; ; life++ {
		note := []byte{byte(life)}
		d, _, err = LoadDirectory(root)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if donor.confirmed != 0 {
				t.Fatalf("nothing is saved after %v was confirmed", donor.confirmed)
			}
			dir.renew()
			_ = root.Close()
			root, err = os.OpenRoot(dir.path)
			must(dir.t, err)
			d = NewDirectory(root, nine)
			donor.told = nil
			s.restarts++
		case err != nil:
			t.Fatalf("LoadDirectory() = %v", err)
		}
		died := errors.New("died")
		for err = errCut; errors.Is(err, errCut); {
			tr := &sending{donor: donor, dir: d, dice: r, tasks: tasks}
			tr.between = func() error {
				switch roll := r.IntN(trouble); {
				case life < 20 && roll == 0:
					return errCut
				case life < 20 && roll == 1 && r.IntN(2) == 0:
					return died
				case roll == 2:
					err := d.Save(context.Background(), note)
					saved = donor.sent
					return err
				}
				return nil
			}
			if err = tr.run(); err != nil && !errors.Is(err, errCut) {
				break
			}
			for len(tr.inFlight) > 0 && r.IntN(2) == 0 { // what was on its way is written, or not
				if err := tr.writeOne(); err != nil {
					t.Fatalf("Data() = %v", err)
				}
			}
			if err != nil {
				s.cuts++
				s.allowed += tasks * chunkBytes
				d.Interrupt()
			}
		}
		if errors.Is(err, died) {
			s.deaths++
			s.allowed += donor.sent - saved + tasks*chunkBytes
			saved = donor.sent
			must(dir.t, d.Close())
			continue
		}
		if err != nil {
			t.Fatalf("the copy failed: %v", err)
		}
		if _, err := d.Finish("donor", begunAt); err != nil {
			t.Fatalf("Finish() = %v", err)
		}
		must(dir.t, d.Close())
		break
	}
	s.copies++
	s.size += donor.size()
	s.sent += donor.sent
	if err := errors.Join(donor.check(dir.path), dir.marked()); err != nil {
		t.Fatalf("the copy is not right: %v", err)
	}
	if s.sent > s.size+s.allowed {
		t.Fatalf("%d bytes were sent, %d more than allowed", s.sent, s.sent-s.size-s.allowed)
	}
}

type rapidTB interface{ Fatalf(string, ...any) }

func (s *survey) report(t *testing.T) {
	t.Logf("%d copies, %d cuts, %d deaths, %d begun: %.1f MB of data, %.1f MB sent, %.2f of what may be sent again was",
		s.copies, s.cuts, s.deaths, s.restarts, float64(s.size)/1e6, float64(s.sent)/1e6, float64(s.sent-s.size)/float64(max(s.allowed, 1)))
}

// Whatever happens to a copy on its way, it ends as the model, and what has to be sent again is bounded: one chunk per task for each
// cut, and what came since the last checkpoint when the process dies.
func TestSurvives(t *testing.T) {
	t.Parallel()
	dir := newGenerationDir(t)
	var s survey
	rapid.Check(t, func(r *rapid.T) { s.survive(r, dir, rapidDice{r}) })
	s.report(t)
}

// The same with a plain generator, whose numbers are spread more evenly.
func TestSurvivesEvenly(t *testing.T) {
	t.Parallel()
	dir := newGenerationDir(t)
	var s survey
	for seed := range uint64(60) {
		s.survive(t, dir, rand.New(rand.NewPCG(seed, 1)))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	s.report(t)
}
