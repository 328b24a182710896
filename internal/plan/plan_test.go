package plan_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ordinal/internal/plan"
)

const file = "plan.json"

// example has each operation, and a name that is taken again after it was moved away: made twice, the first step
// would see the second one's result.
func example() *plan.Plan {
	p := plan.New("an example")
	p.Mkdir("new", 0o750)
	p.WriteFile("new/note", []byte("hello"), 0o640)
	p.Rename("data", "old")
	p.Rename("staging", "data")
	p.Move(".", "new", "a", "b", "c")
	p.Symlink("data", "link")
	p.Remove("single")
	p.RemoveAll("old")
	p.Mkdir("old", 0o700)
	return p
}

const exampleResult = "data/ data/2 link@data new/ new/a new/b new/c new/note old/"

func seed(t *testing.T) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"data", "staging"} {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o750))
	}
	for _, name := range []string{"data/1", "staging/2", "a", "b", "c", "single"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o640))
	}
	must(t, os.Symlink("elsewhere", filepath.Join(dir, "link")))
	root, err := os.OpenRoot(dir)
	must(t, err)
	t.Cleanup(func() { root.Close() })
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tree(t *testing.T, root *os.Root) string {
	t.Helper()
	var names []string
	must(t, filepath.WalkDir(root.Name(), func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root.Name(), path)
		switch {
		case name == ".":
			return err
		case d.IsDir():
			name += "/"
		case d.Type() == fs.ModeSymlink:
			target, _ := os.Readlink(path)
			name += "@" + target
		}
		names = append(names, name)
		return err
	}))
	return strings.Join(names, " ")
}

func TestSaveAndRun(t *testing.T) {
	root := seed(t)
	must(t, example().SaveAndRun(t.Context(), root, file))
	if got := tree(t, root); got != exampleResult {
		t.Errorf("the tree is %s\nwant %s", got, exampleResult)
	}
	if _, err := plan.Load(root, file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load() of a finished plan = %v, want fs.ErrNotExist", err)
	}
}

var errStopped = errors.New("stopped")

// countdown is a context that ends when it has been asked some times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return errStopped
	}
	return nil
}

func (c *countdown) Value(any) any { return nil } // context.Cause asks Err

// Stopped after each step and after each name of one, and run again from the file: the result is the same.
func TestResumeAfterEachStep(t *testing.T) {
	for stop := 0; ; stop++ {
		root := seed(t)
		err := example().SaveAndRun(&countdown{Context: t.Context(), left: stop}, root, file)
		if err == nil {
			if stop < len(example().Steps) {
				t.Errorf("the plan ended after %d looks at its context", stop)
			}
			return
		}
		if !errors.Is(err, errStopped) || !strings.Contains(err.Error(), "an example: step ") {
			t.Fatalf("stop %d: %v", stop, err)
		}
		if err := example().SaveAndRun(t.Context(), root, file); !errors.Is(err, plan.ErrUnderWay) {
			t.Errorf("stop %d: another plan = %v, want ErrUnderWay", stop, err)
		}
		p, err := plan.Load(root, file)
		must(t, err)
		must(t, p.Run(t.Context(), root, file))
		if got := tree(t, root); got != exampleResult {
			t.Errorf("stop %d: the tree is %s\nwant %s", stop, got, exampleResult)
		}
	}
}

// A server that was started on a directory half moved away, and refused, left files with names that had been moved before.
func TestMoveLeavesNewcomersAlone(t *testing.T) {
	root := seed(t)
	p := plan.New("move")
	p.Move(".", "data", "a", "b", "c")
	if err := p.SaveAndRun(&countdown{Context: t.Context(), left: 3}, root, file); !errors.Is(err, errStopped) {
		t.Fatal(err)
	}
	must(t, os.WriteFile(filepath.Join(root.Name(), "a"), []byte("newcomer"), 0o600))
	p, err := plan.Load(root, file)
	must(t, err)
	must(t, p.Run(t.Context(), root, file))
	if got := tree(t, root); got != "a data/ data/1 data/a data/b data/c link@elsewhere single staging/ staging/2" {
		t.Errorf("the tree is %s", got)
	}
	if got, err := os.ReadFile(filepath.Join(root.Name(), "data", "a")); err != nil || len(got) > 0 {
		t.Errorf("data/a is %q, %v: it was replaced", got, err)
	}
}

// A crash between a step and its note makes the step run twice.
func TestEachStepTwice(t *testing.T) {
	steps := example().Steps
	for twice := range steps {
		root := seed(t)
		for i := range steps {
			runOne(t, root, steps, i)
			if i == twice {
				runOne(t, root, steps, i)
			}
		}
		if got := tree(t, root); got != exampleResult {
			t.Errorf("step %d twice: the tree is %s\nwant %s", twice, got, exampleResult)
		}
	}
}

func runOne(t *testing.T, root *os.Root, steps []plan.Step, i int) {
	t.Helper()
	p := plan.New("an example")
	p.Steps, p.Done = steps[:i+1], i
	data, err := json.Marshal(p)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(root.Name(), file), data, 0o600))
	p, err = plan.Load(root, file)
	must(t, err)
	must(t, p.Run(t.Context(), root, file))
}

// The removal of the file can be lost. The plan must not run again over what has happened since.
func TestFinishedPlanOnlyGoesAway(t *testing.T) {
	root := seed(t)
	p := example()
	p.Done = len(p.Steps)
	before := tree(t, root)
	must(t, p.SaveAndRun(t.Context(), root, file))
	if got := tree(t, root); got != before {
		t.Errorf("the tree is %s\nwant %s", got, before)
	}
}

func TestConflicts(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(dir string) error
		step    func(p *plan.Plan)
	}{
		"rename over something":    {nothing, func(p *plan.Plan) { p.Rename("data", "staging") }},
		"rename of nothing":        {nothing, func(p *plan.Plan) { p.Rename("absent", "x") }},
		"move over something":      {func(dir string) error { return os.WriteFile(dir+"/data/a", nil, 0o600) }, func(p *plan.Plan) { p.Move(".", "data", "a") }},
		"directory over a file":    {nothing, func(p *plan.Plan) { p.Mkdir("a", 0o700) }},
		"link over a file":         {nothing, func(p *plan.Plan) { p.Symlink("data", "a") }},
		"rename into a link":       {planted, func(p *plan.Plan) { p.Rename("a", "planted/a") }},
		"write through a link":     {planted, func(p *plan.Plan) { p.WriteFile("planted/a", nil, 0o600) }},
		"move out of a link":       {planted, func(p *plan.Plan) { p.Move("planted", ".", "1") }},
		"remove through a link":    {planted, func(p *plan.Plan) { p.Remove("planted/1") }},
		"removeall through a link": {planted, func(p *plan.Plan) { p.RemoveAll("planted/1") }},
	} {
		t.Run(name, func(t *testing.T) {
			root := seed(t)
			must(t, test.prepare(root.Name()))
			before := tree(t, root)
			p := plan.New("conflict")
			test.step(p)
			err := p.SaveAndRun(t.Context(), root, file)
			if !errors.Is(err, plan.ErrConflict) || !strings.Contains(err.Error(), root.Name()) {
				t.Fatalf("SaveAndRun() = %v, want ErrConflict and the path", err)
			}
			_ = os.Remove(filepath.Join(root.Name(), file)) // if it was begun it stays, for a person to look
			if got := tree(t, root); got != before {
				t.Errorf("the tree is %s\nwant %s", got, before)
			}
		})
	}
}

func nothing(string) error { return nil }

func planted(dir string) error { return os.Symlink("data", filepath.Join(dir, "planted")) }

func TestLoadRefuses(t *testing.T) {
	const step = `{"format":1,"description":"x","done":0,"steps":[%s]}`
	for name, content := range map[string]string{
		"nothing":        "",
		"cut":            `{"format":1,"steps":[`,
		"a later format": `{"format":2,"steps":[]}`,
		"too much done":  `{"format":1,"done":1,"steps":[]}`,
		"an operation":   fmt.Sprintf(step, `{"op":"shred","name":"a"}`),
		"a way out":      fmt.Sprintf(step, `{"op":"remove_all","name":"../a"}`),
		"an absolute":    fmt.Sprintf(step, `{"op":"remove_all","name":"/a"}`),
		"the root":       fmt.Sprintf(step, `{"op":"remove_all","name":"."}`),
		"a detour":       fmt.Sprintf(step, `{"op":"remove","name":"a/../b"}`),
		"a list":         fmt.Sprintf(step, `{"op":"move","name":".","to":"x","list":["a/b"]}`),
		"dots in a list": fmt.Sprintf(step, `{"op":"move","name":".","to":"x","list":[".."]}`),
		"no target":      fmt.Sprintf(step, `{"op":"symlink","name":"a"}`),
	} {
		t.Run(name, func(t *testing.T) {
			root := seed(t)
			must(t, os.WriteFile(filepath.Join(root.Name(), file), []byte(content), 0o600))
			if _, err := plan.Load(root, file); !errors.Is(err, plan.ErrDamaged) {
				t.Errorf("Load() = %v, want ErrDamaged", err)
			}
		})
	}
	root := seed(t)
	must(t, os.Symlink("a", filepath.Join(root.Name(), file)))
	if _, err := plan.Load(root, file); !errors.Is(err, plan.ErrDamaged) {
		t.Errorf("Load() of a link = %v, want ErrDamaged", err)
	}
}
