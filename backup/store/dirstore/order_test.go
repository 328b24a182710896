package dirstore_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fsync(2) of a file descriptor with its path, and the two calls that give an unfinished file its name, as strace -y shows them.
var (
	synced = regexp.MustCompile(`^fsync\(\d+<([^>]+)>\) += 0`)
	named  = regexp.MustCompile(`^(?:renameat2?|linkat)\(\d+<([^>]+)>, "(put-[A-Z0-9]+)", \d+<([^>]+)>, "[^"]+".* = 0`)
)

// An unfinished file is synced before it gets its name, and all directories above the name are synced after it. A crash of the machine cannot be
// played here; the order is what it would show.
func TestOrder(t *testing.T) {
	needStrace(t)
	dir, log := seeded(t), filepath.Join(t.TempDir(), "trace")
	if out, err := driver(dir, "-o", log, "-y", "-e", "trace=fsync,renameat,renameat2,linkat").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	trace, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]bool{} // synced
	wait := map[string]bool{}  // directories that must be synced yet
	names := 0
	for line := range strings.Lines(string(trace)) {
		if m := synced.FindStringSubmatch(line); m != nil {
			files[m[1]] = true
			delete(wait, m[1])
		}
		m := named.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		names++
		if len(wait) > 0 {
			t.Errorf("not synced before the next step: %v", wait)
		}
		if file := filepath.Join(m[1], m[2]); !files[file] {
			t.Errorf("%s gets its name before it is synced", file)
		}
		for above := m[3]; ; above = filepath.Dir(above) {
			if wait[above] = true; above == dir {
				break
			}
		}
	}
	if len(wait) > 0 {
		t.Errorf("never synced: %v", wait)
	}
	if names != 3 {
		t.Errorf("%d files got a name, want 3: is the trace understood?\n%s", names, trace)
	}
}
