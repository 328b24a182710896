package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite generated documentation")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"agent": main})
}

// The commands as users type them: output, exit code, and what they left on disk.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "answers": answers, "makes": makes, "archives": archives},
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOSTNAME", "build-host") // the machine's own may look like a pod's
			path, err := filepath.Abs(binlogs)
			e.Setenv("BINLOGS", path)
			return err
		},
	})
}

// exits runs a program and checks its exit code: `exits 78 agent init`. Its output is there for stdout and stderr.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code program [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	switch err := ts.Exec(args[1], args[2:]...).(type) {
	case nil:
	case *exec.ExitError:
		got = err.ExitCode()
	default:
		ts.Fatalf("%s: %v", args[1], err)
	}
	if got != want {
		ts.Fatalf("exit code of %v = %d, want %d", args[1:], got, want)
	}
}

// checkDoc compares a generated file with what is there, or writes it with -update.
func checkDoc(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what the code says (%v): run go generate ./cmd/agent", path, err)
	}
}
