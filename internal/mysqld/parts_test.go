package mysqld

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"ordinal/mysqlx"
)

func TestIdentity(t *testing.T) {
	for _, test := range []struct {
		own, owner int
		as         *syscall.Credential
		args       string
		refused    bool
	}{
		{0, 0, nil, "--user=root", false},
		{0, 999, &syscall.Credential{Uid: 999, Gid: 998}, "", false},
		{999, 999, nil, "", false},
		{999, 0, nil, "", true},
		{999, 1000, nil, "", true},
	} {
		as, args, err := identity(test.own, test.owner, 998, "/data")
		if (err != nil) != test.refused || strings.Join(args, " ") != test.args || (as == nil) != (test.as == nil) {
			t.Errorf("identity(%d, %d) = %v, %q, %v", test.own, test.owner, as, args, err)
		}
		if as != nil && (as.Uid != test.as.Uid || as.Gid != test.as.Gid || as.Groups == nil || len(as.Groups) > 0) {
			t.Errorf("identity(%d, %d) = %+v, want %+v and no other groups", test.own, test.owner, as, test.as)
		}
	}
}

func TestArguments(t *testing.T) {
	o := Options{DataDir: "/d", Args: []string{"--performance-schema=ON"}}
	args := o.arguments("/d", "/run/x", "--user=root")
	if args[0] != "--no-defaults" {
		t.Errorf("first argument is %s: mysqld wants --no-defaults there, and reads option files else", args[0])
	}
	if slices.Index(args, "--performance-schema=OFF") > slices.Index(args, "--performance-schema=ON") {
		t.Error("the caller's options do not win")
	}
	if slices.Contains(args, "--skip-grant-tables") {
		t.Error("accounts are off without being asked for")
	}
}

func TestTail(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 50).Draw(t, "size")
		kept, all := newTail(size), ""
		for range rapid.IntRange(0, 20).Draw(t, "writes") {
			p := rapid.StringMatching(`[a-z]{0,130}`).Draw(t, "p")
			if n, err := kept.Write([]byte(p)); n != len(p) || err != nil {
				t.Fatalf("Write() = %d, %v, want %d", n, err, len(p))
			}
			all += p
			if want := all[max(0, len(all)-size):]; kept.String() != want {
				t.Fatalf("String() = %q, want %q", kept.String(), want)
			}
		}
		if cap(kept.data) > 8*size+1024 {
			t.Fatalf("%d bytes of memory for %d", cap(kept.data), size)
		}
	})
}

func TestLogLines(t *testing.T) {
	log := newTail(maxTail)
	fmt.Fprint(log, "one\n\n  two \x1b[31m\x07\n")
	if got := log.lines(); !slices.Equal(got, []string{"one", "two [31m"}) {
		t.Errorf("lines() = %q", got)
	}
	for i := range 20 {
		fmt.Fprintf(log, "2026-11-21T12:00:00Z 0 [ERROR] [MY-0] number %d\nnoise\n", i)
	}
	got := log.lines()
	if len(got) != maxLines || !strings.HasSuffix(got[maxLines-1], "number 19") {
		t.Errorf("lines() = %q, want the last %d errors", got, maxLines)
	}
	fmt.Fprint(log, "[ERROR] ", strings.Repeat("é", 1000), "\n")
	if last := log.lines()[maxLines-1]; len(last) > maxColumn+10 || !strings.HasSuffix(last, "…") {
		t.Errorf("long line: %q", last)
	}
}

// Lines that servers have said. Only here one finds the data directory in use: it tries for 100 seconds before it says so.
func TestTrouble(t *testing.T) {
	for _, test := range []struct {
		log    string
		killed bool
		want   Trouble
	}{
		{"[ERROR] [MY-011087] [Server] Different lower_case_table_names settings for server ('0') and data dictionary ('1').", false, TroubleData},
		{"[ERROR] [MY-012592] [InnoDB] Operating system error number 2 in a file operation.", false, TroubleData},
		{"[ERROR] [MY-012574] [InnoDB] Unable to lock ./ibdata1 error: 11", false, TroubleInUse},
		{"[ERROR] [MY-012271] [InnoDB] The innodb_system data file 'ibdata1' must be writable", false, TroublePermission},
		{"[ERROR] [MY-012639] [InnoDB] Write to file ./ibtmp1 failed at offset 0, 1048576 bytes should have been written, only 0 were written. Operating system error number 28. Check that the disk is not full\nError number 28 means 'No space left on device'", false, TroubleSpace},
		{"[ERROR] [MY-012681] [InnoDB] Cannot allocate memory for the buffer pool", false, TroubleMemory},
		{"", true, TroubleKilled},
		{"", false, TroubleData},
	} {
		if got := trouble(test.log, test.killed); got != test.want {
			t.Errorf("trouble(%q, %t) = %s, want %s", test.log, test.killed, got, test.want)
		}
	}
	codes := map[Trouble]int{
		TroubleData: 65, TroubleKilled: 75, TroubleMemory: 75, TroubleSpace: 73, TroublePermission: 77, TroubleInUse: 75,
	}
	for trouble, want := range codes {
		if e := (&EndedError{Trouble: trouble}); e.ExitCode() != want || e.Hint() == "" {
			t.Errorf("%s: exit code %d, hint %q, want %d", trouble, e.ExitCode(), e.Hint(), want)
		}
	}
}

func TestLowerCaseInDictionary(t *testing.T) {
	const text = "Different lower_case_table_names settings for server ('0') and data dictionary ("
	for log, want := range map[string]string{
		text + "'1').\n": "1", text + "'2').": "2", text + "'11')": "", text + "'x')": "", text: "", text + "'1": "", "": "",
	} {
		if got, ok := lowerCaseInDictionary(log); ok != (want != "") || ok && got != want {
			t.Errorf("lowerCaseInDictionary(%q) = %q, %t, want %q", log, got, ok, want)
		}
	}
}

func TestFindRefuses(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := Find(t.Context(), filepath.Join(dir, "none")); !is[*NotFoundError](err) {
		t.Errorf("Find() of nothing = %v", err)
	}
	for _, path := range []string{
		dir,
		script("plain", "", 0o644),
		script("fails", "echo no library >&2; exit 127", 0o755),
		script("silent", "", 0o755),
		script("other", "echo mysql Ver", 0o755),
		script("long", "yes | head -c 1000000", 0o755),
	} {
		_, err := Find(t.Context(), path)
		if !is[*UnusableError](err) || !strings.Contains(err.Error(), path) {
			t.Errorf("Find(%s) = %v, want that it cannot be run", path, err)
		}
	}
	if _, err := Find(t.Context(), filepath.Join(dir, "fails")); err == nil || !strings.Contains(err.Error(), "no library") {
		t.Errorf("Find() = %v, want what the program said", err)
	}
	for _, version := range []string{"mariadbd  Ver 11.8.3-MariaDB for debian-linux-gnu", "mysqld  Ver 5.7.44 for Linux"} {
		if _, err := Find(t.Context(), script("old", "echo '"+version+"'", 0o755)); !is[*mysqlx.UnsupportedError](err) {
			t.Errorf("Find() of %s = %v, want that it is not supported", version, err)
		}
	}
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
