package volume_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"ordinal/internal/volume"
)

func TestRequest(t *testing.T) {
	v := open(t, t.TempDir())
	dir := v.Path()
	if r, err := v.Request(); r != nil || err != nil {
		t.Errorf("Request() of nothing = %+v, %v", r, err)
	}
	if o, err := volume.ReadOutcome(dir); o != nil || err != nil {
		t.Errorf("ReadOutcome() of nothing = %+v, %v", o, err)
	}
	wantError(t, "CloseRequest() of nothing", v.CloseRequest("x", "", false), volume.ErrState)
	must(t, volume.Submit(dir, volume.Request{ID: "one", Kind: volume.RequestUndo, Name: "20261121T134700Z-x", Reason: "wanted", Force: true}))
	err := volume.Submit(dir, volume.Request{ID: "two", Kind: volume.RequestRebuild})
	if !errors.Is(err, volume.ErrState) || !strings.Contains(err.Error(), "one") {
		t.Errorf("Submit() beside another = %v, want ErrState and its name", err)
	}
	r, err := v.Request()
	if err != nil || r.ID != "one" || r.Name != "20261121T134700Z-x" || r.Reason != "wanted" || !r.Force || r.At.IsZero() {
		t.Errorf("Request() = %+v, %v", r, err)
	}
	wantError(t, "CloseRequest() of another", v.CloseRequest("two", "", false), volume.ErrState)
	must(t, v.CloseRequest("one", "no such entry", true))
	must(t, v.CloseRequest("one", "once more", false))
	o, err := volume.ReadOutcome(dir)
	if err != nil || o.ID != "one" || !o.Failed || o.Text != "no such entry" || o.At.IsZero() {
		t.Errorf("ReadOutcome() = %+v, %v", o, err)
	}
	wantError(t, "Submit() of what was carried out", volume.Submit(dir, volume.Request{ID: "one", Kind: volume.RequestRebuild}), volume.ErrState)

	// The agent is killed between the outcome and the removal: it is not carried out twice.
	must(t, volume.Submit(dir, volume.Request{ID: "three", Kind: volume.RequestRebuild}))
	request, err := os.ReadFile(dir + "/agent/request.json")
	must(t, err)
	must(t, v.CloseRequest("three", strings.Repeat("\x00é", 40_000), false))
	must(t, os.WriteFile(dir+"/agent/request.json", request, 0o640))
	if r, err := v.Request(); r != nil || err != nil {
		t.Errorf("Request() whose outcome is written = %+v, %v", r, err)
	}
	must(t, volume.Submit(dir, volume.Request{ID: "four", Kind: volume.RequestRebuild}))
	if o, err := volume.ReadOutcome(dir); err != nil || o.ID != "three" || len(o.Text) == 0 {
		t.Errorf("ReadOutcome() of a long one = %+v, %v", o, err)
	}
}

func TestSubmitRefuses(t *testing.T) {
	dir := t.TempDir()
	wantError(t, "Submit() without an agent", volume.Submit(dir, volume.Request{ID: "x", Kind: volume.RequestRebuild}), volume.ErrState)
	wantError(t, "Submit() without a volume", volume.Submit(dir+"/x", volume.Request{ID: "x", Kind: volume.RequestRebuild}), volume.ErrNoVolume)
	open(t, dir)
	for _, r := range []volume.Request{
		{Kind: volume.RequestRebuild},
		{ID: "x"},
		{ID: "a b", Kind: volume.RequestRebuild},
		{ID: strings.Repeat("x", 65), Kind: volume.RequestRebuild},
		{ID: "x", Kind: "format"},
		{ID: "x", Kind: volume.RequestRebuild, Name: "x"},
		{ID: "x", Kind: volume.RequestUndo},
		{ID: "x", Kind: volume.RequestDrop, Name: "../gen"},
		{ID: "x", Kind: volume.RequestDrop, Name: ".dropping-x"},
		{ID: "x", Kind: volume.RequestDrop, Name: "a\nb"},
		{ID: "x", Kind: volume.RequestRebuild, Reason: "a\x1b[2J"},
		{ID: "x", Kind: volume.RequestRebuild, Reason: "\xff"},
		{ID: "x", Kind: volume.RequestRebuild, Reason: strings.Repeat("x", 1001)},
	} {
		wantError(t, fmt.Sprintf("Submit(%+v)", r), volume.Submit(dir, r), volume.ErrState)
	}
	if got := tree(t, dir); got != "agent\nagent/lock\n" {
		t.Errorf("the volume is %s", got)
	}
}

// However many ask at once, one waits and no other is lost in silence.
func TestSubmitAtOnce(t *testing.T) {
	v := open(t, t.TempDir())
	var group sync.WaitGroup
	var taken atomic.Int32
	for i := range 30 {
		group.Go(func() {
			err := volume.Submit(v.Path(), volume.Request{ID: fmt.Sprintf("r%d", i), Kind: volume.RequestRebuild})
			if err == nil {
				taken.Add(1)
			} else if !errors.Is(err, volume.ErrState) {
				t.Errorf("Submit() = %v", err)
			}
		})
	}
	group.Wait()
	if r, err := v.Request(); r == nil || err != nil || taken.Load() != 1 {
		t.Errorf("%d were taken, and there waits %+v, %v", taken.Load(), r, err)
	}
	if got := tree(t, v.Path()); got != "agent\nagent/lock\nagent/request.json\n" {
		t.Errorf("the volume is %s", got)
	}
}

func TestRequestIsHostile(t *testing.T) {
	v := open(t, t.TempDir())
	file := filepath.Join(v.Path(), "agent", "request.json")
	text, err := os.ReadFile("testdata/request-v1.json")
	must(t, err)
	must(t, os.WriteFile(file, text, 0o640))
	if r, err := v.Request(); err != nil || r.ID != "k2hq7" || r.Kind != volume.RequestUndo || !r.Force {
		t.Errorf("Request() = %+v, %v", r, err)
	}
	refused := func(what string) {
		t.Helper()
		r, err := v.Request()
		var hint interface{ Hint() string }
		if r != nil || !errors.Is(err, volume.ErrDamaged) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), file) {
			t.Fatalf("%s: Request() = %+v, %v, want ErrDamaged and what to remove", what, r, err)
		}
	}
	for i := range len(text) - 2 {
		must(t, os.WriteFile(file, text[:i], 0o640))
		refused(fmt.Sprintf("cut after %d bytes", i))
	}
	for i := range text {
		flipped := slices.Clone(text)
		flipped[i] ^= 0x04
		must(t, os.WriteFile(file, flipped, 0o640))
		if r, err := v.Request(); err == nil && (r == nil || r.ID == "" || r.Kind == "" || r.Name == "" && r.Kind != volume.RequestRebuild) {
			t.Fatalf("with byte %d flipped: Request() = %+v", i, r)
		}
	}
	must(t, os.WriteFile(file, []byte(strings.Replace(string(text), `"format": 1`, `"format": 2`, 1)), 0o640))
	refused("a format of the future")
	must(t, os.WriteFile(file, slices.Concat(text, make([]byte, 64<<10)), 0o640))
	refused("too long")
	must(t, os.Remove(file))
	must(t, os.Symlink("lock", file))
	refused("a link")
	wantError(t, "Submit() beside what is damaged", volume.Submit(v.Path(), volume.Request{ID: "x", Kind: volume.RequestRebuild}), volume.ErrDamaged)
	must(t, os.Remove(file))
	must(t, os.Mkdir(file, 0o750))
	refused("a directory")
}

func TestHold(t *testing.T) {
	v := open(t, t.TempDir())
	dir, file := v.Path(), filepath.Join(v.Path(), "agent", "hold.json")
	held := func(want bool, reason string) {
		t.Helper()
		ours, err := v.Held()
		must(t, err)
		note, err := volume.Held(dir)
		if err != nil || (note != nil) != want || (ours != nil) != want || want && (note.Reason != reason || ours.Reason != reason) {
			t.Errorf("Held() = %+v and %+v, %v, want %v, %q", note, ours, err, want, reason)
		}
	}
	held(false, "")
	must(t, volume.Release(dir))
	must(t, volume.Hold(dir, "a look at the relay log"))
	held(true, "a look at the relay log")
	must(t, volume.Hold(dir, "another look"))
	held(true, "another look")
	must(t, volume.Release(dir))
	held(false, "")
	for _, byHand := range []string{"", "{", `{"reason":"a\nb"}`, `["x"]`} {
		must(t, os.WriteFile(file, []byte(byHand), 0o640))
		held(true, "")
	}
	must(t, volume.Release(dir))
	must(t, os.Symlink("/nowhere", file))
	held(true, "")
	must(t, volume.Release(dir))
	held(false, "")
	wantError(t, "Hold() with two lines", volume.Hold(dir, "a\nb"), volume.ErrState)
	wantError(t, "Hold() without an agent", volume.Hold(t.TempDir(), ""), volume.ErrState)
}
