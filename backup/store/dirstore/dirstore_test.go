package dirstore_test

import (
	"os"
	"testing"

	"ordinal/backup/store"
	"ordinal/backup/store/dirstore"
	"ordinal/backup/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Implementation{New: func(t *testing.T) store.Store { return open(t, scratch(t)) }, Memory: 4 << 20})
}

func open(t testing.TB, dir string) *dirstore.Store {
	t.Helper()
	s, err := dirstore.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// scratch returns an empty directory that goes with the test, in memory where that is possible: thousands of syncs are not what is tested.
func scratch(t testing.TB) string {
	t.Helper()
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "dirstore-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
