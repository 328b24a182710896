package archive_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"filippo.io/age"

	"ordinal/backup"
	"ordinal/backup/archive"
	"ordinal/backup/store/memstore"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// otherUUID is the server_uuid of another server than the recorded one.
const otherUUID = "11111111-2222-3333-4444-555555555555"

// TestGap: transactions are purged before they are archived. The gap is named, what follows is archived all the same, and a pod that still has them
// fills it.
func TestGap(t *testing.T) {
	r := record(t)
	var kept memstore.Store
	o := options(r, &kept)
	r.show(5)
	a := run(t, o)
	a.reaches(t, r.executed())
	a.stop()
	before := r.executed()

	r.show(9)
	lost := r.executed().Subtract(before)
	r.state.Purged = r.executed()
	r.show(len(r.transactions))
	a = run(t, o)
	a.reaches(t, r.executed())
	if got := a.Status().Gap; !got.Equal(lost) {
		t.Errorf("Status().Gap = %v, want %v", got, lost)
	}
	a.stop()
	x := loadIndex(t, &kept)
	if got := x.Gaps(r.begin); !got.Equal(lost) {
		t.Errorf("Gaps() = %v, want %v", got, lost)
	}
	if got := x.Gaps(before.Union(lost)); !got.IsEmpty() {
		t.Errorf("Gaps() of a backup behind the gap = %v", got)
	}
	if got := x.Reaches(r.begin); !got.GTIDs.Equal(before) || got.Time.IsZero() {
		t.Errorf("Reaches() = %v, want %v", got, before)
	}
	var unreachable *archive.UnreachableError
	if err := x.Check(r.begin, time.Time{}); !errors.As(err, &unreachable) || !unreachable.Missing.Equal(lost) || !unreachable.Last.GTIDs.Equal(before) {
		t.Errorf("Check() = %v", err)
	}
	if err := x.CheckGTIDs(r.begin, before); err != nil {
		t.Errorf("CheckGTIDs() of what is before the gap = %v", err)
	}
	if err := x.CheckGTIDs(r.begin, before.Union(lost)); !errors.As(err, &unreachable) {
		t.Errorf("CheckGTIDs() of what is missing = %v", err)
	}
	// The archiver that has seen it knows it again.
	a = run(t, o)
	mysqltest.Eventually(t, "it runs", func() bool { return a.Status().State == archive.StateArchiving })
	if got := a.Status().Gap; !got.Equal(lost) {
		t.Errorf("Status().Gap after a restart = %v, want %v", got, lost)
	}
	a.stop()

	filled, err := archive.Fill(t.Context(), o) // nobody has it
	if err != nil || !filled.IsEmpty() {
		t.Errorf("Fill() from the same server = %v, %v", filled, err)
	}
	r.state.Purged = mysqlx.GTIDSet{} // another pod
	filled, err = archive.Fill(t.Context(), o)
	if err != nil || !filled.Equal(lost) {
		t.Errorf("Fill() = %v, %v; want %v", filled, err, lost)
	}
	whole(t, loadIndex(t, &kept), r)
}

// TestOtherServers: one that is behind is waited for; one that has lost transactions of its own is refused; one that takes writes without what was
// lost with another begins a new branch.
func TestOtherServers(t *testing.T) {
	r := record(t)
	var kept memstore.Store
	o := options(r, &kept)
	a := run(t, o)
	all := r.executed()
	a.reaches(t, all)
	a.stop()
	r.show(len(r.transactions) - 3)
	tail := all.Subtract(r.executed())

	r.state.Writable = false // a replica that lags
	r.state.ServerUUID = otherUUID
	a = run(t, o)
	mysqltest.Eventually(t, "it waits", func() bool { return errors.Is(a.Status().Err, archive.ErrBehind) })
	r.show(len(r.transactions))
	a.reaches(t, all)
	mysqltest.Eventually(t, "it goes on", func() bool { return a.Status().Err == nil && a.Status().State == archive.StateArchiving })
	a.stop()

	r.show(len(r.transactions) - 3)
	r.state.Writable, r.state.ServerUUID = true, recording.all.state.ServerUUID
	a = run(t, o)
	mysqltest.Eventually(t, "it refuses", func() bool { return errors.Is(a.Status().Err, archive.ErrReused) })
	a.stop()

	// The last ones have another origin now: what was acknowledged by the lost source and archived is abandoned.
	r.state.ServerUUID = otherUUID
	a = run(t, o)
	mysqltest.Eventually(t, "it archives", func() bool { return a.Status().State == archive.StateArchiving })
	if got := a.Status().Abandoned; !got.Equal(tail) {
		t.Errorf("Status().Abandoned = %v, want %v", got, tail)
	}
	r.renumber(t, len(r.transactions)-2)
	r.show(len(r.transactions))
	now := r.executed()
	a.reaches(t, now)
	a.stop()
	x := loadIndex(t, &kept)
	p := x.Path(r.begin, time.Time{})
	if !p.Abandoned.Equal(tail) || !p.Missing.IsEmpty() || !p.Reaches.GTIDs.Equal(now) {
		t.Errorf("Path(): abandoned %v, want %v; missing %v; reaches %v, want %v", p.Abandoned, tail, p.Missing, p.Reaches.GTIDs, now)
	}
	// It is known to an archiver that begins now.
	a = run(t, o)
	mysqltest.Eventually(t, "it archives", func() bool { return a.Status().State == archive.StateArchiving })
	if s := a.Status(); !s.Archived.Equal(now) || !s.Abandoned.Equal(tail) || !s.Gap.IsEmpty() {
		t.Errorf("Status() = %+v", s)
	}
}

// renumber gives the transactions from n on another origin. It leaves out one of them.
func (r *recorded) renumber(t *testing.T, n int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	all := append([]recordedTransaction{}, r.transactions[:n-1]...)
	for i, tx := range r.transactions[n:] {
		event := append([]byte{}, tx.events[0]...)
		copy(event[19+1:], []byte{0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55})
		event[19+17], event[19+18] = byte(i+1), 0
		reseal(event)
		tx.events = append([][]byte{event}, tx.events[1:]...)
		tx.gtid = gtids(t, otherUUID+":"+string(rune('1'+i)))
		all = append(all, tx)
	}
	r.transactions = all
}

// TestTimes: a time is reached if something that was committed then or later is there, or if it is known that nothing was committed.
func TestTimes(t *testing.T) {
	r := record(t)
	var kept memstore.Store
	began := time.Now()
	fillStore(t, r, options(r, &kept))
	x := loadIndex(t, &kept)
	segments := x.Segments()
	middle := segments[len(segments)/2]
	p := x.Path(r.begin, middle.Last)
	if n := len(p.Segments); n == 0 || n == len(segments) || p.Reaches.Time.Before(middle.Last) || !p.Reaches.GTIDs.Contains(middle.GTIDs) {
		t.Errorf("Path(%v) has %d segments of %d and reaches %v", middle.Last, n, len(segments), p.Reaches)
	}
	until := x.CompleteUntil()
	if until.Before(began) {
		t.Errorf("CompleteUntil() = %v, want the watermark's time, after %v", until, began)
	}
	if err := x.Check(r.begin, until); err != nil {
		t.Errorf("Check(%v) = %v", until, err)
	}
	var unreachable *archive.UnreachableError
	if err := x.Check(r.begin, until.Add(time.Second)); !errors.As(err, &unreachable) || !unreachable.Last.Time.Equal(until) {
		t.Errorf("Check() of what comes later = %v", err)
	}
	// The last object is gone: the watermark tells.
	var last string
	for info := range kept.List(t.Context(), "archive/segments/", "") {
		last = info.Name
	}
	if err := kept.Delete(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if err := loadIndex(t, &kept).Check(r.begin, until); !errors.As(err, &unreachable) || unreachable.Missing.IsEmpty() {
		t.Errorf("Check() without the last object = %v", err)
	}
}

// TestPrune removes what the oldest backup makes superfluous, and nothing else.
func TestPrune(t *testing.T) {
	r := record(t)
	var kept memstore.Store
	fillStore(t, r, options(r, &kept))
	r.show(10)
	base := r.executed()
	r.show(len(r.transactions))
	all := objects(t, &kept)
	if done, err := archive.Prune(t.Context(), &kept, keys, mysqlx.GTIDSet{}, false); err != nil || len(done.Objects) != 0 {
		t.Errorf("Prune() without a base = %v, %v", done, err)
	}
	plan, err := archive.Prune(t.Context(), &kept, keys, base, true)
	if err != nil || len(plan.Objects) == 0 || objects(t, &kept) != all {
		t.Fatalf("Prune() by way of trial = %v, %v", plan, err)
	}
	done, err := archive.Prune(t.Context(), &kept, keys, base, false)
	if err != nil || len(done.Objects) != len(plan.Objects) || objects(t, &kept) != all-len(done.Objects) {
		t.Errorf("Prune() = %v, %v; the plan was %v", done, err, plan)
	}
	x := loadIndex(t, &kept)
	if err := x.Check(base, time.Time{}); err != nil {
		t.Errorf("Check() of the base = %v", err)
	}
	if x.Check(r.begin, time.Time{}) == nil {
		t.Error("Check() of an older backup = nil")
	}
}

// TestEncrypted: what is archived for somebody's key is put together without it, and cannot be read without it.
func TestEncrypted(t *testing.T) {
	r := record(t)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	seal := keys.Seal
	for name, k := range map[string]struct{ write, read backup.Keys }{
		"recipient": {
			backup.Keys{Seal: seal, Recipients: []backup.Recipient{{Recipient: id.Recipient(), Name: id.Recipient().String()}}},
			backup.Keys{Seal: seal, Identities: []age.Identity{id}},
		},
		"passphrase": {backup.Keys{Seal: seal, Passphrase: "correct horse"}, backup.Keys{Seal: seal, Passphrase: "correct horse"}},
	} {
		var kept memstore.Store
		o := options(r, &kept)
		o.Keys = k.write
		fillPart(t, r, o, 0, 12) // two runs: with a passphrase each has a key of its own
		fillPart(t, r, o, 12, len(r.transactions))
		done, err := archive.Compact(t.Context(), &kept, backup.Keys{Seal: seal}, archive.CompactOptions{Objects: 5, Grace: -1})
		if err != nil || done.Removed == 0 {
			t.Errorf("%s: Compact() = %+v, %v", name, done, err)
		}
		x, err := archive.Load(t.Context(), &kept, k.read)
		if err != nil {
			t.Fatal(err)
		}
		whole(t, x, r)
		x = loadIndex(t, &kept)
		body, err := x.Open(t.Context(), x.Segments()[0])
		if err == nil {
			_, err = io.ReadAll(body)
		}
		if !errors.Is(err, backup.ErrWrongKey) {
			t.Errorf("%s: Open() without a key = %v", name, err)
		}
		if _, err := archive.Load(t.Context(), &kept, backup.Keys{Seal: [][]byte{make([]byte, 32)}}); !errors.Is(err, backup.ErrWrongKey) {
			t.Errorf("%s: Load() with another secret = %v", name, err)
		}
	}
}
