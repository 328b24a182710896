package mysqltest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Script returns the path of one program that is the server, for what takes the path of a mysqld and starts it itself: mysqld where that runs as it is, else a
// script that becomes it. It goes with the test. The script adds its options after those that it is given.
func (d Distribution) Script(t testing.TB) string {
	t.Helper()
	if d.root == "" {
		return d.mysqld
	}
	dir, err := os.MkdirTemp("", "mysqltest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	quote := func(args []string) string {
		quoted := make([]string, len(args))
		for i, arg := range args {
			quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		return strings.Join(quoted, " ")
	}
	options := []string{
		"--basedir=" + filepath.Join(d.root, "usr"),
		"--lc-messages-dir=" + filepath.Join(d.root, "usr/share/mysql"),
		"--plugin-dir=" + filepath.Join(d.root, "usr/lib/mysql/plugin"),
	}
	path := filepath.Join(dir, "mysqld")
	text := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\" %s\n", quote(d.argv(d.mysqld)), quote(options))
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // for tests that run it as somebody else
		t.Fatal(err)
	}
	return path
}
