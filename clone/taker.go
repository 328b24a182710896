package clone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"ordinal/mysqlx"
	"ordinal/stream"
)

// A Taker takes a copy's events, in the order in which a [Directory] would. Data may be called concurrently; no other method runs beside another one or
// beside Data, but File if it announces that a file is gone. After an error it is given nothing more.
type Taker interface {
	// StageStart opens FILE_COPY, PAGE_COPY or REDO_COPY. What DDL has changed was announced with File since the last stage ended, and counts from now on.
	StageStart(s stream.StageStart) error
	// File announces a file, or a change to one.
	File(meta stream.File) error
	// Data is content of a file, as it is there. data is not kept. What came in an attempt that broke may come once more.
	Data(h stream.DataHeader, data []byte) error
	// StageEnd closes the stage. When it returns nil the donor forgets what the stage consists of.
	StageEnd(stage stream.Stage) error
	// Interrupt says that an attempt has ended. Files announced since the last StageEnd are forgotten: they come again.
	Interrupt()
}

var _ Taker = (*Directory)(nil)

// How a session is kept from ending while a Taker lets us wait. See docs/formats/data-plane.md: a stream whose recipient takes no byte for 30 s is cut, an
// attempt that nobody fetches ends after 30 s, and then the session lasts for a minute or more.
const (
	behindAfter = 20 * time.Second
	renewEvery  = 45 * time.Second
)

// errTooSlow ends an attempt whose donor was kept waiting by this side. It is told at once by that, and holds the snapshot.
var errTooSlow = errors.New("this side does not keep up: the stream is broken off, and fetched on when there is room again")

// Relay fetches the offered copy and hands it to a Taker instead of writing it to a disk. Everything is checked on its way as [Offer.Receive] checks it:
// order, names, completeness, and every InnoDB page. When it returns nil, all of the copy has been taken and nothing in it is bad; otherwise
// what the Taker has got is of no use.
//
// A break is survived as in Receive, as long as this process lives. The Taker may let us wait for as long as it wants: the donor's session is kept
// meanwhile. When ctx ends the Taker has to return by itself, with whatever error.
//
// Errors are the Taker's own, in the chain, and those of Receive. After any, and when ctx ends, the donor holds nothing for us, if it could be told.
func (o *Offer) Relay(ctx context.Context, to Taker, progress Progress) (Summary, error) {
	defer o.client.HTTPClient.CloseIdleConnections()
	sum, err := o.relay(ctx, to, progress)
	if err == nil {
		return sum, nil
	}
	if bad := (*BadPagesError)(nil); errors.As(err, &bad) {
		bad.Donor = o.donor.Pod
	}
	if !errors.Is(err, ErrSnapshotGone) {
		o.Abandon(ctx)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return Summary{}, fmt.Errorf("copy from %s: %w", o.donor.Pod, err)
}

func (o *Offer) relay(ctx context.Context, to Taker, progress Progress) (sum Summary, err error) {
	server, err := mysqlx.ParseVersion(o.Hello.ServerVersion)
	if err != nil {
		return Summary{}, err
	}
	dir := newDirectory(newNoDisk(), server)
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := o.transfer(ctx, destination{dir: dir, to: relayed{dir, to}}, progress); err != nil {
		return Summary{}, err
	}
	return dir.complete()
}

// A destination is where a copy goes to.
type destination struct {
	dir  *Directory // keeps the books
	to   Taker      // gets the events: dir, or what passes on what dir has accepted
	root *os.Root   // where dir is; nil: nothing is kept here, to is somebody else
}

// relayed passes on what its books accept.
type relayed struct {
	books *Directory
	to    Taker
}

// carries reports whether a stage has anything in it. The others may be begun more than once, and nobody needs them.
func carries(s stream.Stage) bool { return s >= stream.StageFileCopy && s <= stream.StageRedoCopy }

// StageStart implements Taker.
func (r relayed) StageStart(s stream.StageStart) error {
	if err := r.books.StageStart(s); err != nil || !carries(s.Stage) {
		return err
	}
	return r.to.StageStart(s)
}

// File implements Taker.
func (r relayed) File(meta stream.File) error {
	if err := r.books.File(meta); err != nil {
		return err
	}
	return r.to.File(meta)
}

// Data implements Taker. What has not been taken is not in the books of an attempt that goes on: an error of either ends everything.
func (r relayed) Data(h stream.DataHeader, data []byte) error {
	if err := r.books.Data(h, data); err != nil {
		return err
	}
	return r.to.Data(h, data)
}

// StageEnd implements Taker.
func (r relayed) StageEnd(stage stream.Stage) error {
	if err := r.books.StageEnd(stage); err != nil || !carries(stage) {
		return err
	}
	return r.to.StageEnd(stage)
}

// Interrupt implements Taker.
func (r relayed) Interrupt() {
	r.books.Interrupt()
	r.to.Interrupt()
}

// watch breaks the attempt off when this side has not read a stream for too long, before the donor cuts it: what it says and when it ends is then known
// here, and the donor knows that its recipient is alive.
func (t *intake) watch(ctx context.Context, over <-chan struct{}) error {
	tick := time.NewTicker(t.offer.behind / 4)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return nil // whoever ended it has the reason
		case now := <-tick.C:
			for n := range t.away {
				if since := t.away[n].Load(); since != 0 && now.Sub(time.Unix(0, since)) >= t.offer.behind {
					return errTooSlow
				}
			}
		}
	}
}

// leaves notes that a lane is not being read from now on.
func (t *intake) leaves(lane int) {
	if t.root == nil {
		t.away[lane].Store(time.Now().UnixNano())
	}
}

// reads notes that a lane is being read, or that it is not this side that anybody waits for.
func (t *intake) reads(lane int) { t.away[lane].Store(0) }

// hold keeps the session alive from the end of an attempt until this side is done with what came in it. An attempt that is asked for and not
// fetched renews the lease; the next one ends it.
func (t *intake) hold(ctx context.Context, broken, done <-chan struct{}) {
	select {
	case <-broken:
	case <-done:
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
		}
	}()
	tick := time.NewTicker(t.offer.renew)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_, _ = t.offer.begin(ctx, t.dir.Progress()) // the next attempt tells what is wrong
		case <-ctx.Done():
			return
		}
	}
}
