package clone

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"ordinal/mysqlx"
)

func TestMain(m *testing.M) {
	if os.Getenv(driverVolume) != "" {
		os.Exit(drive())
	}
	goleak.VerifyTestMain(m)
}

// nine is the version of the donors that these tests make up.
var nine = mysqlx.Version{Major: 9, Minor: 7, Patch: 4}

// scratch returns an empty directory that goes with the test. It is in memory where there is such a file system: what these
// tests look at is the order of things, not the speed of a disk.
func scratch(t testing.TB) string {
	t.Helper()
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "clone-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
