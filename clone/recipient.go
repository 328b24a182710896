package clone

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"ordinal/mysqlx"
	"ordinal/stream"
)

// Defaults of a Recipient.
const (
	// DefaultStall is how long a donor may be silent. It sends a heartbeat every 5 s.
	DefaultStall = time.Minute
	// DefaultSilence is how long a donor may not be reached in mid-copy: twice as long as it holds the snapshot.
	DefaultSilence = 10 * time.Minute
)

// A Recipient fetches copies. Its methods may be called concurrently.
type Recipient struct {
	// TLS returns the configuration with which peer's data plane is called: it proves who we are and that peer is peer.
	TLS func(peer string) *tls.Config
	// Stall is how long a donor may send nothing, heartbeats included, before the attempt is given up; 0 means DefaultStall.
	Stall time.Duration
	// Silence is how long a copy goes on trying to reach a donor that is not there any more; 0 means DefaultSilence.
	Silence time.Duration
	// SaveEvery is the shortest time between two saves of a copy's progress; 0 means DefaultSaveEvery.
	SaveEvery time.Duration
}

// Peer is a pod to fetch from.
type Peer struct {
	Pod     string
	Address string // host:port of its data plane
}

// Wants says what the copy is for and how it is to come.
type Wants struct {
	Workers  int    // connections of the donor to its server, at most; 0: the donor chooses; NoWorkers: none
	Streams  int    // connections to the donor, at most; 0: the donor chooses
	Compress string // CompressAuto, CompressOn or CompressOff; "": CompressOff
	MaxRate  uint64 // bytes per second; 0: no limit but the donor's

	PageSize      uint32 // innodb_page_size of the server that will start on it, in bytes; 0: not known
	ServerVersion string // its version; "": not known
	ClusterID     string // the cluster this pod belongs to; "": not known yet
	FreeBytes     uint64 // room for the copy; 0: not known
}

// NoWorkers in Wants.Workers asks for a clone over the main connection alone.
const NoWorkers = -1

// An Offer is a session that a donor has opened for us: it holds a snapshot until Receive, Relay or Abandon.
type Offer struct {
	Hello stream.Hello

	donor     Peer
	url       string
	client    *retryablehttp.Client
	stall     time.Duration
	silence   time.Duration
	saveEvery time.Duration
	behind    time.Duration // how long this side may keep a donor waiting that is read for a Taker
	renew     time.Duration // how often a session is kept alive that waits for a Taker
	begun     time.Time
	dir       *Directory // of an interrupted copy; nil: none yet
}

// A note is what a saved copy says of where it comes from.
type note struct {
	Donor   string       `json:"donor"`
	Session string       `json:"session"`
	Hello   stream.Hello `json:"hello"`
	Begun   time.Time    `json:"begun"`
}

// Ask opens a session at donor and checks that the copy would fit. Errors: RefusedError, UnsupportedError, MismatchError, NoSpaceError,
// or why the donor could not be reached. After an error the donor holds nothing for us.
func (r *Recipient) Ask(ctx context.Context, donor Peer, wants Wants) (*Offer, error) {
	o := r.offer(donor)
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	request := openRequest{Workers: wants.Workers, Streams: wants.Streams, Compress: wants.Compress, MaxRate: wants.MaxRate}
	var granted openAnswer
	if err := o.call(ctx, http.MethodPost, o.url, request, &granted); err != nil {
		o.client.HTTPClient.CloseIdleConnections()
		return nil, fmt.Errorf("ask %s for a clone: %w", donor.Pod, err)
	}
	o.url += "/" + granted.Session
	o.Hello, o.begun = granted.Hello, time.Now()
	if err := o.check(wants); err != nil {
		o.Abandon(ctx)
		return nil, fmt.Errorf("clone from %s: %w", donor.Pod, err)
	}
	return o, nil
}

// Interrupted returns the pod that the unfinished copy in root comes from. Errors: fs.ErrNotExist when nothing was saved there that
// Resume could go on with, ErrSaved when it cannot be read.
func Interrupted(root *os.Root) (donor string, err error) {
	saved, err := savedNote(root)
	if err != nil {
		return "", err
	}
	var n note
	if err := json.Unmarshal(saved, &n); err != nil || n.Donor == "" {
		return "", fmt.Errorf("look for an unfinished copy: %w: it does not name its donor", ErrSaved)
	}
	return n.Donor, nil
}

// Resume takes up the unfinished copy in root, which Interrupted says comes from donor. Nobody is asked yet: Receive finds out whether
// the donor still holds the snapshot. Errors: fs.ErrNotExist, ErrSaved, MismatchError. root stays as it is.
func (r *Recipient) Resume(donor Peer, root *os.Root, wants Wants) (*Offer, error) {
	dir, saved, err := LoadDirectory(root)
	if err != nil {
		return nil, fmt.Errorf("resume the clone from %s: %w", donor.Pod, err)
	}
	var n note
	if err := json.Unmarshal(saved, &n); err != nil || n.Donor != donor.Pod || n.Session == "" {
		return nil, errors.Join(fmt.Errorf("resume the clone from %s: %w: it names donor %q", donor.Pod, ErrSaved, n.Donor), dir.Close())
	}
	o := r.offer(donor)
	o.url += "/" + n.Session
	o.Hello, o.begun, o.dir = n.Hello, n.Begun, dir
	wants.FreeBytes = 0 // part of the copy is there already
	if err := o.check(wants); err != nil {
		return nil, errors.Join(fmt.Errorf("resume the clone from %s: %w", donor.Pod, err), dir.Close())
	}
	return o, nil
}

func (r *Recipient) offer(donor Peer) *Offer {
	o := &Offer{
		donor: donor, client: r.client(donor.Pod), url: "https://" + donor.Address + sessionsPath,
		stall: r.Stall, silence: r.Silence, saveEvery: r.SaveEvery, behind: behindAfter, renew: renewEvery,
	}
	if o.stall == 0 {
		o.stall = DefaultStall
	}
	if o.silence == 0 {
		o.silence = DefaultSilence
	}
	if o.saveEvery == 0 {
		o.saveEvery = DefaultSaveEvery
	}
	return o
}

// check compares what the donor is with what the copy has to fit.
func (o *Offer) check(wants Wants) error {
	h := o.Hello
	if wants.ClusterID != "" && h.ClusterID != wants.ClusterID {
		return &MismatchError{What: "cluster", Donor: h.ClusterID, Recipient: wants.ClusterID}
	}
	if wants.PageSize != 0 && h.PageSize != wants.PageSize {
		return &MismatchError{
			What: "innodb_page_size", Donor: strconv.Itoa(int(h.PageSize)), Recipient: strconv.Itoa(int(wants.PageSize)),
		}
	}
	if wants.ServerVersion != "" {
		if err := mysqlx.CheckCloneVersions(h.ServerVersion, wants.ServerVersion); err != nil {
			return &MismatchError{What: "server version", Donor: h.ServerVersion, Recipient: wants.ServerVersion}
		}
	}
	if wants.FreeBytes != 0 && h.EstimatedBytes > wants.FreeBytes {
		return &NoSpaceError{Need: h.EstimatedBytes, Have: wants.FreeBytes}
	}
	return nil
}

// Abandon tells the donor to let go of the snapshot. It does so by itself, later, when it cannot be told. Also when ctx has ended
// it is told, but then it has to listen at once.
func (o *Offer) Abandon(ctx context.Context) { _ = o.tellEnd(ctx) }

// tellEnd tells the donor that its session is over, and reports whether it has heard.
func (o *Offer) tellEnd(ctx context.Context) bool {
	within := abandonWithin
	if ctx.Err() != nil {
		within = abandonHurry
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	defer o.client.HTTPClient.CloseIdleConnections()
	err := o.call(ctx, http.MethodDelete, o.url, nil, nil)
	var refused *RefusedError
	return err == nil || errors.As(err, &refused) // one that does not know the session has ended it
}

// save makes what has arrived so far something that Resume can go on with.
func (o *Offer) save(ctx context.Context, dir *Directory) error {
	session := o.Hello.SessionID
	b, err := json.Marshal(note{Donor: o.donor.Pod, Session: session, Hello: o.Hello, Begun: o.begun})
	if err != nil {
		return err
	}
	return dir.Save(ctx, b)
}
