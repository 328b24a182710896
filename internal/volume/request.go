package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// RequestKind says what a person wants the agent to do.
type RequestKind string

// The kinds, as they are spelled in a request.
const (
	RequestRebuild RequestKind = "rebuild" // make a new copy beside the data, whatever state that is in
	RequestUndo    RequestKind = "undo"    // bring data back from quarantine
	RequestDrop    RequestKind = "drop"    // remove data from quarantine for good
)

// Request is what a person wants from the agent that works on the volume. It waits in agent/request.json.
type Request struct {
	Format int         `json:"format"`
	ID     string      `json:"id"` // chosen by who submits it: letters, digits, `_`, `-`, at most 64
	Kind   RequestKind `json:"kind"`
	// Name is that of the entry in quarantine; empty for a rebuild.
	Name   string    `json:"name,omitempty"`
	Reason string    `json:"reason,omitempty"` // the person's words, one line of at most 1000 bytes
	Force  bool      `json:"force,omitempty"`
	At     time.Time `json:"at"`
}

// Outcome is what came of a request.
type Outcome struct {
	Format int       `json:"format"`
	ID     string    `json:"id"`
	Text   string    `json:"text"`
	Failed bool      `json:"failed"`
	At     time.Time `json:"at"`
}

const (
	requestFile = "agent/request.json"
	outcomeFile = "agent/request-outcome.json"

	requestFormat  = 1
	maxRequest     = 64 << 10 // bytes
	maxOutcomeText = 32 << 10 // bytes; JSON may take twice as many
	maxReasonText  = 1000     // bytes
)

var requestID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (r Request) validate() error {
	if r.Format < 1 || r.Format > requestFormat {
		return fmt.Errorf("format %d, this version knows %d", r.Format, requestFormat)
	}
	if !requestID.MatchString(r.ID) {
		return fmt.Errorf("%.80q is not an id", r.ID)
	}
	if err := checkLine(r.Reason); err != nil {
		return fmt.Errorf("reason: %w", err)
	}
	switch _, err := quarantinePath(r.Name); {
	case !slices.Contains([]RequestKind{RequestRebuild, RequestUndo, RequestDrop}, r.Kind):
		return fmt.Errorf("unknown kind %.80q", r.Kind)
	case r.Kind == RequestRebuild && r.Name != "":
		return errors.New("a rebuild has no name")
	case r.Kind != RequestRebuild && (err != nil || checkLine(r.Name) != nil):
		return fmt.Errorf("%.80q is not the name of an entry of the quarantine", r.Name)
	}
	return nil
}

// checkLine reports whether text may be shown as it is: in a log, on a terminal.
func checkLine(text string) error {
	if len(text) > maxReasonText || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("it is not one line of at most %d bytes", maxReasonText)
	}
	return nil
}

// Submit leaves a request for the agent that works on the volume at path, durably; it takes no lock. Format and At are filled in. [ErrState] if
// another one waits, if r says nothing that an agent could do, or if no agent has worked on this volume yet.
func Submit(path string, r Request) error {
	return atAgent(path, "submit request", func(root *os.Root) error { return submit(root, r) })
}

func submit(root *os.Root, r Request) error {
	r.Format, r.At = requestFormat, now()
	if err := r.validate(); err != nil {
		return state("%v", err)
	}
	if done, err := readOutcome(root); err == nil && done != nil && done.ID == r.ID {
		return state("request %s was carried out at %v", r.ID, done.At.Format(time.RFC3339))
	}
	data, err := marshal(r)
	if err != nil {
		return err
	}
	err = createNew(root, requestFile, data)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	other, err := readRequest(root)
	if err != nil {
		return err
	}
	if other == nil {
		return state("another request was carried out just now; try again")
	}
	return state("request %s (%s, of %s) waits; the agent carries out one after the other", other.ID, other.Kind, other.At.Format(time.RFC3339))
}

// Request returns the request that waits, nil if there is none. One whose outcome is written already was interrupted at the very end: it is
// removed and not returned. [ErrDamaged], which names the file to remove, if it is not one.
func (v *Volume) Request() (*Request, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, err := v.request()
	if err != nil {
		return nil, fmt.Errorf("read request: %w", v.writable(err))
	}
	return r, nil
}

func (v *Volume) request() (*Request, error) {
	r, err := readRequest(v.root)
	if r == nil || err != nil {
		return nil, err
	}
	done, err := readOutcome(v.root)
	if err != nil || done == nil || done.ID != r.ID {
		return r, nil // an outcome that cannot be read is not this one's: it would have been replaced by a whole one
	}
	return nil, removeDurably(v.root, requestFile)
}

// CloseRequest durably writes what came of the request id, of which at most 32 KiB are kept, then removes it. It may be called again after an error.
// [ErrState] if another request waits.
func (v *Volume) CloseRequest(id, outcome string, failed bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.closeRequest(id, outcome, failed); err != nil {
		return fmt.Errorf("close request %s: %w", id, v.writable(err))
	}
	return nil
}

func (v *Volume) closeRequest(id, outcome string, failed bool) error {
	r, err := readRequest(v.root)
	if err != nil {
		return err
	}
	if r == nil {
		if done, err := readOutcome(v.root); err == nil && done != nil && done.ID == id {
			return removeDurably(v.root, requestFile) // seen is not synced
		}
		return state("no request waits")
	}
	if r.ID != id {
		return state("request %s waits", r.ID)
	}
	outcome = strings.ToValidUTF8(outcome[:min(len(outcome), maxOutcomeText)], "")
	if err := writeJSON(v.root, outcomeFile, Outcome{Format: requestFormat, ID: id, Text: outcome, Failed: failed, At: now()}); err != nil {
		return err
	}
	return removeDurably(v.root, requestFile)
}

// ReadOutcome returns what came of the request that was closed last, nil if none was; it takes no lock. Compare the ID.
func ReadOutcome(path string) (o *Outcome, err error) {
	err = atAgent(path, "read what came of a request", func(root *os.Root) error {
		o, err = readOutcome(root)
		return err
	})
	return o, err
}

func readRequest(root *os.Root) (*Request, error) {
	r := new(Request)
	err := readBounded(root, requestFile, maxRequest, r)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = r.validate()
	}
	if err != nil {
		return nil, uselessFile(root, requestFile, err)
	}
	return r, nil
}

func readOutcome(root *os.Root) (*Outcome, error) {
	o := new(Outcome)
	err := readBounded(root, outcomeFile, maxRequest*4, o)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && (o.Format < 1 || o.Format > requestFormat) {
		err = fmt.Errorf("format %d, this version knows %d", o.Format, requestFormat)
	}
	if err != nil {
		return nil, uselessFile(root, outcomeFile, err)
	}
	return o, nil
}
