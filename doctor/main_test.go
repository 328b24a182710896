package doctor

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestMain sees to it that every check was seen to find something, and that what the tests share ends.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	shared.stop()
	if only := flag.Lookup("test.run").Value.String(); code == 0 && only == "" && !proved.skipped {
		if missing := proved.missing(); len(missing) > 0 {
			fmt.Fprintf(os.Stderr, "FAIL: no test has made what these checks are for: %s\n", strings.Join(missing, ", "))
			code = 1
		}
	}
	os.Exit(code)
}

// proved are the checks that a test has seen find what it had made.
var proved proofs

type proofs struct {
	mu      sync.Mutex
	ids     map[string]bool
	skipped bool // this machine cannot make everything
}

func (p *proofs) add(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ids == nil {
		p.ids = map[string]bool{}
	}
	p.ids[id] = true
}

func (p *proofs) missing() (ids []string) {
	for _, c := range Checks() {
		if !p.ids[c.ID] {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// needs skips a test on a machine that lacks something, or fails it where CI=true.
func needs(t *testing.T, have bool, what string) {
	t.Helper()
	if have {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s", what)
	}
	proved.mu.Lock()
	proved.skipped = true
	proved.mu.Unlock()
	t.Skipf("needs %s", what)
}

func needsRoot(t *testing.T) {
	t.Helper()
	needs(t, os.Geteuid() == 0, "root, to mount, to change owners and to make namespaces")
}

// wants checks that a report finds something wrong in exactly these checks, and that each says what, why and what to do.
func wants(t *testing.T, r Report, ids ...string) {
	t.Helper()
	var got []string
	for _, c := range r.Results {
		if c.State != Fault && c.State != Warning {
			continue
		}
		got = append(got, c.ID)
		if c.What == "" || c.Why == "" || c.Fix == "" {
			t.Errorf("%s lacks what (%q), why (%q) or a remedy (%q)", c.ID, c.What, c.Why, c.Fix)
		}
		t.Logf("%s %s: %s\n  fix: %s", c.State, c.ID, c.What, c.Fix)
	}
	slices.Sort(got)
	slices.Sort(ids)
	if !slices.Equal(got, ids) {
		t.Errorf("found %v, want %v", got, ids)
		for _, c := range r.Results {
			if slices.Contains(ids, c.ID) {
				t.Logf("%s is %s: %s", c.ID, c.State, c.What)
			}
		}
		return
	}
	for _, id := range ids {
		proved.add(id)
	}
}

// says checks what a finding is about: what people read, and what they are told to do.
func says(t *testing.T, r Report, id string, texts ...string) {
	t.Helper()
	for _, c := range r.Results {
		if c.ID != id {
			continue
		}
		for _, text := range texts {
			if !strings.Contains(c.What+"\n"+c.Fix, text) {
				t.Errorf("%s does not say %q: %s\n%s", id, text, c.What, c.Fix)
			}
		}
		return
	}
	t.Errorf("there is no check %s", id)
}

// state returns what came of one check.
func state(r Report, id string) State {
	for _, c := range r.Results {
		if c.ID == id {
			return c.State
		}
	}
	return ""
}
