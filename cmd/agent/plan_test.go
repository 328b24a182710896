package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"ordinal/agent"
)

// askPlan runs `agent plan` against a pod that answers as told.
func askPlan(t *testing.T, answer http.HandlerFunc, more ...string) (stdout string, err error) {
	t.Helper()
	pod := httptest.NewServer(answer)
	t.Cleanup(pod.Close)
	at, err := url.Parse(pod.URL)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	args := append([]string{"plan", "--pod-name=mysql-1", "--peer-host=127.0.0.{ordinal}", "--status-port=" + at.Port()}, more...)
	err = dispatch(t.Context(), args, &surroundings{getenv: func(string) string { return "" }, stdout: &out, stderr: &out})
	return out.String(), err
}

// What a pod plans comes over the network: it may be long, and hold what a terminal would obey.
func TestPlanIsHostile(t *testing.T) {
	hostile := agent.Plan{
		Pod: "mysql-1\x1b]0;owned\a", Role: "replica", Decision: "rebuild\r", Lost: "nothing\x1b[2J",
		Reasons:  []agent.Reason{{Code: "errant_transactions", Message: "first\nagent: second\x1b[31m"}},
		Siblings: []agent.Sibling{{Pod: "mysql-0\n", Answer: "answered", State: "source", GTIDExecuted: strings.Repeat("x", 10_000)}},
		Exported: strings.Repeat("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,\n", 1000),
	}
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/plan" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		_ = json.NewEncoder(w).Encode(hostile)
	}
	text, err := askPlan(t, answer)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.ContainsFunc(line, unicode.IsControl) || len(line) > 1000 || strings.HasPrefix(line, "agent:") {
			t.Errorf("printed %q", line)
		}
	}
	if lines := strings.Count(text, "\n"); lines < 4 || lines > 12 {
		t.Errorf("printed %d lines: %q", lines, text)
	}

	text, err = askPlan(t, answer, "--json")
	var back agent.Plan
	if err != nil || json.Unmarshal([]byte(text), &back) != nil || back.Exported != hostile.Exported || strings.Count(text, "\n") != 1 {
		t.Errorf("--json printed %.200q, %v", text, err)
	}
}

// A pod that has no plan, or something else in its place, costs one line, a hint and code 69.
func TestNoPlan(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"not found": http.NotFound,
		"not json":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"a list":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "[]") },
		"cut off":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"pod":"mysql-1","reasons":[`) },
		"without end": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"pod":"`)
			for range 10_000 {
				if _, err := fmt.Fprint(w, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := askPlan(t, answer, "--json")
			var stderr strings.Builder
			if code := report(&stderr, err); code != agent.ExitUnavailable || text != "" {
				t.Errorf("code = %d, printed %q", code, text)
			}
			lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			if len(lines) != 2 || !strings.HasPrefix(lines[0], "agent: ask for the plan: ") || !strings.HasPrefix(lines[1], "hint: ") || len(stderr.String()) > 1000 {
				t.Errorf("said %q", stderr.String())
			}
		})
	}
}
