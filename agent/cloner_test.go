package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"
	"time"

	"ordinal/clone"
	"ordinal/internal/volume"
	"ordinal/mysqlx"
	"ordinal/stream"
)

// TestJudge: mysql-2 has half a copy from mysql-1 when asking a donor, or receiving from it, fails.
func TestJudge(t *testing.T) {
	received := func(err error) error { return fmt.Errorf("clone from mysql-1: %w", err) }
	tests := []struct {
		name  string
		donor int
		err   error
		ends  bool // agent init
		kept  bool // what has been copied
		next  donorStep
		ask   int
	}{
		{"lost, not for long", 1, received(&clone.SilentError{For: time.Minute, Err: errors.New("x")}), false, true, donorWait, 0},
		{"lost for good", 1, received(&clone.SilentError{For: time.Hour, Err: errors.New("x")}), false, true, donorAsk, 0},
		{"snapshot gone", 1, received(clone.ErrSnapshotGone), false, false, donorWait, 0},
		{"saved state damaged", 1, &uselessError{clone.ErrSaved}, false, false, donorWait, 0},
		{"made by another version", 1, &uselessError{&clone.MismatchError{What: "server version"}}, false, false, donorWait, 0},
		{"nobody gets any further", 1, received(stream.ErrCorrupt), false, false, donorWait, 0},
		{"bad pages", 1, received(&clone.BadPagesError{Donor: "mysql-1", File: "f", Pages: []uint64{7}}), false, false, donorAsk, 0},
		{"it has got what cannot be copied", 1, received(&clone.UnsupportedError{What: "x", Names: []string{"y"}}), true, false, 0, 0},
		{"our disk fails", 1, &localError{&fs.PathError{Op: "write", Path: "f", Err: syscall.EIO}}, true, false, 0, 0},
		{"another donor is busy", 0, &clone.RefusedError{Donor: "mysql-0", Code: clone.ReasonBusy}, false, true, donorAsk, 1},
		{"another donor cannot be copied", 0, &clone.UnsupportedError{What: "x", Names: []string{"y"}}, true, true, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newTestCloner(t)
			err := c.judge(t.Context(), test.donor, test.err)
			if (err != nil) != test.ends {
				t.Fatalf("judge() = %v, ends %t", err, test.ends)
			}
			kind := volume.Empty
			if test.kept {
				kind = volume.UnderWay
			}
			mustBe(t, c, kind)
			if (c.gen != nil) != test.kept || (c.donor != "") != test.kept {
				t.Errorf("the copy from %q is kept: %t", c.donor, c.gen != nil)
			}
			if test.ends {
				return
			}
			if got := decideDonor(c.book.view(c.donor)); got.Step != test.next || got.Ordinal != test.ask || got.Step == donorWait && got.Reasons[0].Code == "" {
				t.Errorf("then: %+v, want step %d, ordinal %d", got, test.next, test.ask)
			}
		})
	}
}

// TestPickUp: an unfinished copy is gone on with if it says that it comes from a pod before this one; any other is removed.
func TestPickUp(t *testing.T) {
	for note, kept := range map[string]bool{`{"donor":"mysql-1","session":"s"}`: true, `{"donor":"mysql-3","session":"s"}`: false, `{"donor":`: false, "": false} {
		c := newTestCloner(t)
		if note != "" {
			dir := clone.NewDirectory(c.gen.Root(), mysqlx.Version{Major: 9, Minor: 7, Patch: 4})
			if err := errors.Join(dir.Save(t.Context(), []byte(note)), dir.Close()); err != nil {
				t.Fatal(err)
			}
		}
		c.letGo()
		mustBe(t, c, volume.UnderWay)
		if err := c.pickUp(t.Context()); err != nil {
			t.Errorf("note %q: %v", note, err)
		}
		if (c.gen != nil) != kept || (c.donor == "mysql-1") != kept {
			t.Errorf("note %q: a copy from %q is kept: %t", note, c.donor, c.gen != nil)
		}
		kind := volume.Empty
		if kept {
			kind = volume.UnderWay
		}
		mustBe(t, c, kind)
	}
}
