package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"ordinal/clone"
	"ordinal/internal/volume"
)

// newTestCloner is mysql-2 with an unfinished copy from mysql-1 on its volume.
func newTestCloner(t *testing.T) *cloner {
	c, _ := newShownCloner(t)
	return c
}

// newShownCloner returns the board as well, on which the cloner shows what it does.
func newShownCloner(t *testing.T) (*cloner, *Board) {
	t.Helper()
	id := Identity{Base: "mysql", Pod: "mysql-2", Ordinal: 2}
	peers, err := NewPeers(id, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	vol, err := volume.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = vol.Close() })
	gen, err := vol.NewGeneration(volume.Record{Origin: volume.OriginClone, Donor: "mysql-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(gen.Path(), "ibdata1"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	board := NewBoard(id, PhaseInit, "1.2.3")
	i := &initialiser{self: self{id: id, peers: peers, log: zap.NewNop()}, vol: vol, board: board, metrics: NewMetrics(board, "1.2.3"), beat: NewHeartbeat(initBeat)}
	c := &cloner{waiter: waiter{workshop: i.workshop()}, book: newDonorBook(id, time.Minute), pause: newBackoff(), gen: gen, donor: "mysql-1"}
	t.Cleanup(c.letGo)
	return c, board
}

func mustBe(t *testing.T, c *cloner, kind volume.Kind) {
	t.Helper()
	if content, err := c.vol.Inspect(); err != nil || content.Kind != kind {
		t.Errorf("the volume is %v, %v, want %v", content.Kind, err, kind)
	}
}

// TestWaitForSpace: what was written is freed at once, and the wait ends when there is room.
func TestWaitForSpace(t *testing.T) {
	c, board := newShownCloner(t)
	have, err := c.room()
	if err != nil {
		t.Fatal(err)
	}
	full := fmt.Errorf("clone: %w", &os.PathError{Op: "write", Err: syscall.ENOSPC})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.waitForSpace(ctx, 4*have, full) }()
	var s Status
	for deadline := time.Now().Add(20 * time.Second); s.State != StateWaitingForSpace; s = board.Status() {
		if time.Now().After(deadline) {
			t.Fatalf("status is %+v", s)
		}
		time.Sleep(time.Millisecond) // simulates somebody who looks now and then
	}
	var need, free uint64
	if n, err := fmt.Sscanf(s.Reasons[0].String(), "no_space: need=%d have=%d", &need, &free); n != 2 || need != 4*have || free == 0 || s.HasData != DataNo {
		t.Errorf("status is %+v (%v)", s, err)
	}
	mustBe(t, c, volume.Empty)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("waitForSpace() = %v", err)
	}

	// Nothing had been written, and there is room by now.
	c.book.note(1, donorUnfit, Reason{})
	if err := c.waitForSpace(t.Context(), have/2, full); err != nil {
		t.Error(err)
	}
	if got := decideDonor(c.book.view("")); got.Step != donorAsk || got.Ordinal != 1 {
		t.Errorf("after the wait: %+v", got)
	}
}

func TestSpaceNeeded(t *testing.T) {
	for _, test := range []struct {
		err  error
		need uint64
		full bool
	}{
		{fmt.Errorf("ask: %w", &clone.NoSpaceError{Need: 10, Have: 5}), 10, true},
		{fmt.Errorf("clone: %w", &os.PathError{Op: "write", Err: syscall.ENOSPC}), 0, true},
		{fmt.Errorf("clone: %w", &os.PathError{Op: "write", Err: syscall.EDQUOT}), 0, true},
		{fmt.Errorf("clone: %w", &os.PathError{Op: "write", Err: syscall.EIO}), 0, false},
		{errors.New("x"), 0, false},
	} {
		if need, full := spaceNeeded(test.err); need != test.need || full != test.full {
			t.Errorf("spaceNeeded(%v) = %d, %t", test.err, need, full)
		}
	}
}
