package mysqlx_test

import (
	"os"
	"path/filepath"
	"testing"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

func TestShutDownInOrder(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{Config: map[string]string{"log_bin": "binlog"}})
	check := func(when string, want bool) {
		t.Helper()
		got, err := mysqlx.ShutDownInOrder(s.DataDir, "binlog")
		if err != nil || got != want {
			t.Errorf("%s: ShutDownInOrder() = %t, %v, want %t", when, got, err, want)
		}
	}
	check("first start", true)
	s.Exec(t, "CREATE DATABASE d")
	s.Exec(t, "FLUSH BINARY LOGS")
	check("after a rotation", true)
	s.Stop(t)
	s.Restart(t)
	check("after a shutdown", true)
	s.Exec(t, "CREATE DATABASE e")
	s.Kill9(t)
	check("after a kill, before the next start", true) // the newest file is not judged
	s.Restart(t)
	check("after a kill", false)
}

func TestShutDownInOrderOfDamagedFiles(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "magic only": "\xfebin", "half a header": "\xfebin123456", "an event of length 0": "\xfebin" + string(make([]byte, 19)),
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{"b.000001": content, "b.index": "./b.000001\n./b.000002\n"} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if ok, err := mysqlx.ShutDownInOrder(dir, "b"); ok || err != nil {
			t.Errorf("%s: ShutDownInOrder() = %t, %v, want false", name, ok, err)
		}
	}
	if ok, err := mysqlx.ShutDownInOrder(t.TempDir(), "b"); !ok || err != nil {
		t.Errorf("without binlogs: %t, %v, want true", ok, err)
	}
}
