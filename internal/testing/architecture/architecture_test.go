package architecture

import (
	"slices"
	"strings"
	"testing"
)

func TestArchitecture(t *testing.T) {
	files, findings, err := readTree("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found %d Go files: the tree is not where this test looks", len(files))
	}
	for _, f := range files {
		findings = append(findings, check(f)...)
	}
	findings = append(findings, checkPackages(files)...)
	slices.Sort(findings)
	if len(findings) > 0 {
		t.Errorf("%d broken rules:\n%s", len(findings), strings.Join(findings, "\n"))
	}
}

// A rule that cannot fail protects nothing: each one sees a file that breaks it.
func TestRulesNotice(t *testing.T) {
	tests := []struct {
		name, file, src string
		want            string // part of the only finding; "" for none
	}{
		{"import down", "clone/a.go", `import _ "example/stream"`, ""},
		{"import down to a tree", "agent/a.go", `import _ "example/internal/volume"`, ""},
		{"import up", "stream/a.go", `import _ "example/clone"`, "stream imports clone: imports point down only"},
		{"import sideways", "clone/protocol/a.go", `import _ "example/internal/trust"`, "imports point down only"},
		{"unknown package", "shiny/a.go", `import _ "example/stream"`, "shiny has no place in the layout"},
		{"own package in its external test", "stream/a_test.go", `import _ "example/stream"`, ""},
		{"package beside in a test", "clone/protocol/a_test.go", `import _ "example/mysqlx"`, ""},
		{"package above in a test", "stream/a_test.go", `import _ "example/agent"`, "imports point down only"},
		{"test helpers in a test", "stream/a_test.go", `import _ "example/internal/testing/mysqltest"`, ""},
		{"test helpers in the product", "agent/a.go", `import _ "example/internal/testing/mysqltest"`, "only tests and internal/testing may"},
		{"product in a test program", "internal/testing/demo/a.go", `import _ "example/clone"`, ""},
		{"driver in mysqlx", "mysqlx/a.go", `import _ "github.com/go-sql-driver/mysql"`, ""},
		{"driver elsewhere", "clone/a.go", `import _ "github.com/go-sql-driver/mysql"`, "only these may: mysqlx"},
		{"library for tests in the product", "stream/a.go", `import _ "pgregory.net/rapid"`, "only these may: test"},
		{"library for tests in a test", "stream/a_test.go", `import _ "pgregory.net/rapid"`, ""},
		{"package of a library", "clone/a.go", `import _ "golang.org/x/sync/errgroup"`, ""},
		{"unknown library", "clone/a.go", `import _ "example.org/shiny"`, "is no library of this project"},
		{"environment in main", "cmd/agent/a.go", `var a = os.Getenv("A")`, ""},
		{"environment in a package", "agent/a.go", `var a = os.Getenv("A")`, "agent/a.go:2: agent uses os.Getenv: take the value as an argument"},
		{"environment in a test", "agent/a_test.go", `var a = os.Getenv("A")`, ""},
		{"flags in a package", "agent/a.go", `import _ "flag"`, "agent imports flag"},
		{"exit in a package", "agent/a.go", `func a() { os.Exit(1) }`, "cmd/agent chooses the exit code"},
		{"sleep in a test", "agent/a_test.go", `func a() { time.Sleep(1) }`, "poll with a deadline"},
		{"sleep in virtual time", "agent/a_test.go", `func a() { synctest.Test(t, func(t *testing.T) { time.Sleep(1) }) }`, ""},
		{"sleep that plays a slow peer", "agent/a_test.go", "func a() {\n\ttime.Sleep(1) // simulates a slow disk\n}", ""},
		{"sleep that plays in the product", "agent/a.go", "func a() {\n\ttime.Sleep(1) // simulates a slow disk\n}", "ctx.Done()"},
		{"sleep in the product", "agent/a.go", `func a() { time.Sleep(1) }`, "ctx.Done()"},
		{"error that says failed", "agent/a.go", `var a = errors.New("failed to open")`, "name the operation alone"},
		{"longest file", "agent/a.go", strings.Repeat("\n", maxLines-1), ""},
		{"too long a file", "agent/a.go", strings.Repeat("\n", maxLines), "agent/a.go:801: file has 801 lines"},
		{"old word in a string", "agent/a.go", `var a = "SHOW MASTER STATUS"`, `the word "MASTER"`},
		{"old word in a name", "agent/a_test.go", `var slaveCount int`, `the word "slaveCount"`},
		{"old word in a comment", "agent/a.go", `var a int // before 8.0.23: CHANGE MASTER TO`, ""},
		{"old word in mysqlx", "mysqlx/a.go", `var a = "SHOW MASTER STATUS"`, ""},
		{"old option in the config", "agent/a.go", `var a = "loose_skip_slave_start=ON"`, ""},
		{"function without comment", "stream/a.go", `func A() {}`, "A has no comment"},
		{"function with comment", "stream/a.go", "// A does a.\nfunc A() {}", ""},
		{"unexported function", "stream/a.go", `func a() {}`, ""},
		{"method without comment", "stream/a.go", "// T is a type.\ntype T int\nfunc (*T) A() {}", "A has no comment"},
		{"generic method without comment", "stream/a.go", "// T is a type.\ntype T[V any] int\nfunc (*T[V]) A() {}", "A has no comment"},
		{"method of a known interface", "stream/a.go", "// T is a type.\ntype T int\nfunc (T) Error() string { return \"\" }", ""},
		{"method of an unexported type", "stream/a.go", "type t int\nfunc (t) A() {}", ""},
		{"type without comment", "stream/a.go", `type T int`, "T has no comment"},
		{"constants with one comment", "stream/a.go", "// All of them.\nconst (\n\tA = 1\n\tB = 2\n)", ""},
		{"constant without comment", "stream/a.go", "const (\n\tA = 1 // first\n\tB = 2\n)", "B has no comment"},
		{"exported name in a test", "stream/a_test.go", `func A() {}`, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, err := parseSource("example", test.file, []byte("package a\n"+test.src))
			if err != nil {
				t.Fatal(err)
			}
			got := check(f)
			switch {
			case test.want == "" && len(got) == 0:
			case test.want != "" && len(got) == 1 && strings.Contains(got[0], test.want):
			default:
				t.Errorf("check() = %q, want one finding with %q", got, test.want)
			}
		})
	}
}

func TestPackagesNotice(t *testing.T) {
	parse := func(name, src string) *sourceFile {
		t.Helper()
		f, err := parseSource("example", name, []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	good := []*sourceFile{parse("stream/doc.go", "// Package stream is one.\npackage stream"), parse("stream/a.go", "package stream")}
	if got := checkPackages(good); len(got) != 0 {
		t.Errorf("checkPackages() = %q, want none", got)
	}
	bad := []*sourceFile{parse("stream/a.go", "package stream"), parse("shiny/a.go", "// Package shiny is one.\npackage shiny")}
	got := checkPackages(bad)
	slices.Sort(got)
	want := []string{"shiny/a.go:2: shiny has no place", "stream/a.go:1: package stream has no comment"}
	for i, part := range want {
		if len(got) != len(want) || !strings.HasPrefix(got[i], part) {
			t.Fatalf("checkPackages() = %q, want %q", got, want)
		}
	}
}

// The table itself must point down: no package may reach itself.
func TestLayoutHasNoCycle(t *testing.T) {
	var visit func(pkg string, above []string)
	visit = func(pkg string, above []string) {
		if slices.Contains(above, pkg) {
			t.Errorf("mayImport has a cycle: %s → %s", strings.Join(above, " → "), pkg)
			return
		}
		for _, below := range mayReach(pkg) {
			visit(below, append(slices.Clone(above), pkg))
		}
	}
	for pkg := range mayImport {
		visit(pkg, nil)
	}
}
