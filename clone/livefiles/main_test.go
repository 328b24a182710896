package livefiles

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"ordinal/clone/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inMemory returns an empty directory of a memory file system that goes with the test; a usual one where there is none.
func inMemory(t testing.TB) string {
	t.Helper()
	const parent = "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(parent, "livefiles-test-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// openUnchecked is Open without the proof that a server works in the directory: for files that are made up.
func openUnchecked(t testing.TB, dir string, s Server, files []protocol.FileMeta) (*Set, error) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	l, err := newLayout(s.PageSize)
	must(t, err)
	o := opener{layout: l, server: s, root: root, most: maxOpen}
	return o.open(t.Context(), files)
}
