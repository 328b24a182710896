package docs

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"ordinal/agent"
)

const whatIf = "docs/what-if.md"

// entries are the sections of docs/what-if.md with the name of an accident, by it: a reason code, "Exit 65" or a situation.
func entries(t *testing.T) map[string]section {
	t.Helper()
	all := map[string]section{}
	for _, s := range sections(read(t, whatIf)) {
		if s.level != 3 {
			continue
		}
		name := strings.Trim(s.title, "`")
		if _, twice := all[name]; twice {
			t.Errorf("%s: %s is there twice", whatIf, name)
		}
		all[name] = s
	}
	if len(all) < 50 {
		t.Fatalf("%s has %d entries: it is not of the form that this test reads", whatIf, len(all))
	}
	return all
}

// notAccidents are the codes of the table at the end of docs/what-if.md.
func notAccidents(t *testing.T) (codes []string) {
	t.Helper()
	for _, s := range sections(read(t, whatIf)) {
		if s.title == "Not accidents" {
			for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(s.body, -1) {
				codes = append(codes, m[1])
			}
		}
	}
	return codes
}

// donorAnswers are the codes with which a donor refuses.
func donorAnswers(t *testing.T) (codes []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`Reason\w+\s+=\s+"(\w+)"`).FindAllStringSubmatch(read(t, "clone/messages.go"), -1) {
		codes = append(codes, m[1])
	}
	if len(codes) == 0 {
		t.Fatal("the donor's answers are not where this test looks")
	}
	return codes
}

// TestEveryCodeHasAnEntry: every reason code and every answer of a donor has an entry, or is listed as no accident; no entry is about a code that there is not.
func TestEveryCodeHasAnEntry(t *testing.T) {
	found, harmless := entries(t), notAccidents(t)
	var codes []string
	for _, c := range agent.Codes() {
		codes = append(codes, string(c.Code))
	}
	codes = append(codes, donorAnswers(t)...)
	for _, code := range codes {
		entry, ok := found[code]
		switch {
		case ok && slices.Contains(harmless, code):
			t.Errorf("%s has an entry for %s and calls it no accident", whatIf, code)
		case !ok && !slices.Contains(harmless, code):
			t.Errorf("%s has no entry for the reason code %s: add one, or a line to the table of what is no accident", whatIf, code)
		case ok && entry.title != "`"+code+"`":
			t.Errorf("%s: the heading of %s has to be the code, so that its anchor stays", whatIf, code)
		}
	}
	for name, entry := range found {
		if strings.HasPrefix(entry.title, "`") && !slices.Contains(codes, name) {
			t.Errorf("%s has an entry for %s, which is no reason code", whatIf, name)
		}
	}
	for _, code := range harmless {
		if !slices.Contains(codes, code) {
			t.Errorf("%s lists %s, which is no reason code", whatIf, code)
		}
	}
}

// TestEveryEntryIsComplete: what you see, what the agent does, what you do.
func TestEveryEntryIsComplete(t *testing.T) {
	for name, entry := range entries(t) {
		at := 0
		for _, part := range []string{"- **See:** ", "- **Agent:** ", "- **You:** "} {
			i := strings.Index(entry.body[at:], "\n"+part)
			if i < 0 {
				t.Errorf("%s: the entry for %s has no %q, or not in its place", whatIf, name, part)
				break
			}
			at += i
		}
	}
}

// TestEveryExitCodeHasAnEntry: those of docs/exit-codes.md, which is generated, but for success and what is reserved.
func TestEveryExitCodeHasAnEntry(t *testing.T) {
	found, known := entries(t), map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \| ([^|]+) \|`).FindAllStringSubmatch(read(t, "docs/exit-codes.md"), -1) {
		if m[1] == "0" || m[2] == "reserved" {
			continue
		}
		known["Exit "+m[1]] = true
		if _, ok := found["Exit "+m[1]]; !ok {
			t.Errorf("%s has no entry for exit code %s (%s)", whatIf, m[1], m[2])
		}
	}
	if len(known) < 10 {
		t.Fatal("docs/exit-codes.md is not of the form that this test reads")
	}
	for name := range found {
		if strings.HasPrefix(name, "Exit ") && !known[name] {
			t.Errorf("%s has an entry for %s, which is no exit code", whatIf, name)
		}
	}
}

// TestHealingIsCovered: what docs/healing.md says is done about, and the states that a pod can be in, lead to an entry.
func TestHealingIsCovered(t *testing.T) {
	found := entries(t)
	for _, m := range regexp.MustCompile("(?m)^\\| [^|]+ \\| `(\\w+)`").FindAllStringSubmatch(read(t, "docs/healing.md"), -1) {
		if _, ok := found[m[1]]; !ok {
			t.Errorf("docs/healing.md has a row for %s, %s no entry", m[1], whatIf)
		}
	}
	states, _, _ := strings.Cut(read(t, whatIf), "\n## Situations")
	for _, m := range regexp.MustCompile(`State\w+\s+State\s+=\s+"(\w+)"`).FindAllStringSubmatch(read(t, "agent/status.go"), -1) {
		calm := []string{"source", "replicating", "terminating"}
		if !slices.Contains(calm, m[1]) && !strings.Contains(states, "`"+m[1]+"`") {
			t.Errorf("%s does not say where to look for the state %s", whatIf, m[1])
		}
	}
}
