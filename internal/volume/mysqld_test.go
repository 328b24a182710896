package volume_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ordinal/internal/testing/mysqltest"
	"ordinal/internal/volume"
)

// A real server refuses what is not complete and starts on what is.
func TestMysqldAndTheMarker(t *testing.T) {
	template := mysqltest.Template(t)
	v := open(t, t.TempDir())
	g, err := v.NewGeneration(volume.Record{Origin: volume.OriginClone})
	must(t, err)
	defer g.Close()
	copyInto(t, g.Path(), template)
	// Whole as it is, it must not be started on before Complete has said so. See refman/8.4 clone-plugin-remote.
	wantRefusal(t, g.Path())

	must(t, v.Complete(t.Context(), g, volume.Facts{}))
	s := mysqltest.Start(t, mysqltest.Options{DataDir: v.DataDir()})
	if used, err := v.InUse(1); !used || err != nil {
		t.Errorf("InUse() under a running mysqld = %v, %v, want true", used, err)
	}
	if _, err := v.Quarantine(t.Context(), 1, "test"); !errors.Is(err, volume.ErrInUse) {
		t.Errorf("Quarantine() under a running mysqld = %v, want ErrInUse", err)
	}
	s.Kill9(t)
	<-s.Done()
	if used, err := v.InUse(1); used || err != nil {
		t.Errorf("InUse() after the end of mysqld = %v, %v, want false", used, err)
	}
}

// A data directory in the root is adopted only without its server, is not startable half-way, and is the same afterwards.
func TestMysqldAndAdoption(t *testing.T) {
	template := mysqltest.Template(t)
	dir := t.TempDir()
	copyInto(t, dir, template)
	v := open(t, dir)
	old := mysqltest.Start(t, mysqltest.Options{DataDir: dir})
	if err := v.Adopt(t.Context(), volume.Facts{}); !errors.Is(err, volume.ErrInUse) {
		t.Fatalf("Adopt() under a running mysqld = %v, want ErrInUse", err)
	}
	old.Stop(t)
	uuid, err := os.ReadFile(filepath.Join(dir, "auto.cnf"))
	must(t, err)

	// Stopped in the middle of the entries.
	if err := v.Adopt(&countdown{Context: t.Context(), left: 12}, volume.Facts{}); !errors.Is(err, errStopped) {
		t.Fatalf("Adopt() = %v, want it stopped", err)
	}
	if c := inspect(t, dir); c.Kind != volume.ChangeUnderWay || !strings.Contains(c.Change, "adopt") {
		t.Fatalf("Inspect() = %v %q, want a change under way", c.Kind, c.Change)
	}
	wantRefusal(t, dir) // and leaves an auto.cnf of its own, and perhaps more

	must(t, v.Resume(t.Context()))
	if c := inspect(t, dir); c.Kind != volume.Complete || c.Record.Origin != volume.OriginAdopted || slices.Contains(c.Foreign, "ibdata1") {
		t.Fatalf("Inspect() = %+v, want an adopted generation", c)
	}
	mysqltest.Start(t, mysqltest.Options{DataDir: v.DataDir()})
	if now, err := os.ReadFile(filepath.Join(v.DataDir(), "auto.cnf")); err != nil || string(now) != string(uuid) {
		t.Errorf("auto.cnf is %q, %v, want %q", now, err, uuid)
	}
}

// copyInto copies a data directory into one that exists.
func copyInto(t *testing.T, to, from string) {
	t.Helper()
	temp := filepath.Join(t.TempDir(), "copy")
	must(t, mysqltest.CopyDataDir(temp, from))
	entries, err := os.ReadDir(temp)
	must(t, err)
	for _, e := range entries {
		must(t, os.Rename(filepath.Join(temp, e.Name()), filepath.Join(to, e.Name())))
	}
}

func wantRefusal(t *testing.T, dataDir string) {
	t.Helper()
	s, err := mysqltest.Launch(t, mysqltest.Options{DataDir: dataDir})
	if err == nil {
		t.Fatalf("mysqld starts on %s", dataDir)
	}
	if log := s.Log(); !strings.Contains(log, "MY-012930") && !strings.Contains(log, "ncomplete cloned data") {
		t.Fatalf("mysqld does not start on %s, but for another reason:\n%s", dataDir, log)
	}
}

var errStopped = errors.New("stopped by the test")

// countdown is a context that ends when it has been asked some times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return errStopped
	}
	return nil
}

func (c *countdown) Value(any) any { return nil } // context.Cause asks Err
