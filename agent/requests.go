package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"go.uber.org/zap"

	"ordinal/internal/binlog"
	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// Nobody knows is what is said of quarantined data that was never compared with other pods.
const nobodyKnows = "nobody has compared it with other pods"

// QuarantineEntry is data that was taken out of service and is kept. Fields are only ever added.
type QuarantineEntry struct {
	Name    string    `json:"name"`
	Reason  string    `json:"reason"` // a reason code
	Message string    `json:"message"`
	At      time.Time `json:"at"`
	Bytes   int64     `json:"bytes"` // on disk
	// OnlyHere is the GTID set that no other pod had at that time; "" where every transaction was elsewhere, or Problem says otherwise.
	OnlyHere string `json:"only_here"`
	Problem  string `json:"problem"` // "": none
}

// ListQuarantine lists what is in quarantine on a volume, oldest first. It takes no lock and changes nothing.
func ListQuarantine(path string) ([]QuarantineEntry, error) {
	found, err := volume.ListQuarantine(path)
	if err != nil {
		return nil, err
	}
	list := []QuarantineEntry{} // null would be one more case for every reader
	for _, e := range found {
		entry := QuarantineEntry{
			Name: e.Name, Reason: e.Reason, Message: e.Message, At: e.At, Bytes: e.Bytes, Problem: e.Problem,
		}
		switch {
		case e.OnlyHere != nil:
			entry.OnlyHere = *e.OnlyHere
		case entry.Problem == "":
			entry.Problem = nobodyKnows
		}
		list = append(list, entry)
	}
	return list, nil
}

// A Wish is something that the agent of a pod was asked for.
type Wish struct{ path, id string }

// outcomeEvery is how often is looked whether a wish was granted.
const outcomeEvery = 100 * time.Millisecond

// Await waits for what came of the wish. answered is false if ctx ended before: nobody has looked at it yet, or nobody will before the pod's
// next start. The error is a *RefusedError if it was not granted.
func (w Wish) Await(ctx context.Context) (outcome string, answered bool, err error) {
	tick := time.NewTicker(outcomeEvery)
	defer tick.Stop()
	for {
		o, err := volume.ReadOutcome(w.path)
		switch {
		case err != nil:
			return "", false, err
		case o != nil && o.ID == w.id && o.Failed:
			return "", true, &RefusedError{Reason: NewReason(CodeRequested, "%s", o.Text), Remedy: "nothing was changed; see agent quarantine list"}
		case o != nil && o.ID == w.id:
			return o.Text, true, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", false, nil
		}
	}
}

// RequestUndo asks the agent to bring data back from quarantine: on a replica at once, on a source at the pod's next start.
func RequestUndo(path, name string) (Wish, error) {
	return submit(path, volume.RequestUndo, name, false)
}

// RequestDrop asks the running agent to remove data in quarantine for good. force: even if it has the last copy of a transaction.
func RequestDrop(path, name string, force bool) (Wish, error) {
	return submit(path, volume.RequestDrop, name, force)
}

// RequestRebuild asks the agent to replace the pod's data by a new copy.
func RequestRebuild(path string) (Wish, error) { return submit(path, volume.RequestRebuild, "", false) }

func submit(path string, kind volume.RequestKind, name string, force bool) (Wish, error) {
	if name != "" {
		list, err := volume.ListQuarantine(path)
		if err != nil {
			return Wish{}, err
		}
		if !slices.ContainsFunc(list, func(e volume.QuarantineEntry) bool { return e.Name == name }) {
			return Wish{}, &OptionError{Flag: "NAME", Source: "NAME", Value: name, Allowed: "one that agent quarantine list shows"}
		}
	}
	w := Wish{path, rand.Text()}
	return w, volume.Submit(path, volume.Request{ID: w.id, Kind: kind, Name: name, Reason: "asked for on the command line", Force: force})
}

// maxReason is the longest reason that a person may give, in bytes.
const maxReason = 1000

// CheckVolume returns an *OptionError unless path can be a volume's. It looks at no file.
func CheckVolume(path string) error { return absolutePath("volume", path) }

// Hold asks the agent not to start replication on this pod until [Release]. reason is for people.
func Hold(path, reason string) error {
	if reason == "" {
		reason = "agent hold"
	}
	if len(reason) > maxReason || strings.ContainsFunc(reason, unicode.IsControl) {
		return &OptionError{Flag: "reason", Value: fmt.Sprintf("%.40s", reason), Allowed: fmt.Sprintf("one line of at most %d bytes", maxReason)}
	}
	return volume.Hold(path, reason)
}

// Release ends what Hold asked for.
func Release(path string) error { return volume.Release(path) }

// answerRequest does what somebody asked for and the running agent can do at once, or says why not.
func (r *runner) answerRequest(ctx context.Context, v view) error {
	q := v.Request
	var (
		outcome string
		why     error
	)
	switch q.Kind {
	case volume.RequestDrop:
		if v.Role == RoleReplica {
			v.Source = r.client.Ask(ctx, r.id.First) // as it is now
		}
		outcome, why = q.Name+" was removed", r.drop(ctx, q.Name, q.Force, v)
	case volume.RequestUndo:
		outcome, why = undone(q.Name), r.vol.Undo(ctx, q.Name, whyUndo(q))
	default:
		why = fmt.Errorf("this agent does not know how to %q", q.Kind)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if why != nil {
		outcome = why.Error()
	}
	r.log.Warn(string(q.Kind), zap.String("quarantine", q.Name), zap.String("outcome", outcome))
	return r.vol.CloseRequest(q.ID, outcome, why != nil)
}

func undone(name string) string {
	return name + " comes back into service; what was in service goes to quarantine"
}

// whyUndo is what is said of the data that makes way.
func whyUndo(q *volume.Request) volume.Replacement {
	return volume.Replacement{Reason: string(CodeRequested), Message: "somebody brought " + q.Name + " back"}
}

// drop removes data in quarantine, unless it is the last copy of something.
func (r *runner) drop(ctx context.Context, name string, force bool, v view) error {
	list, err := volume.ListQuarantine(r.vol.Path())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(e volume.QuarantineEntry) bool { return e.Name == name })
	if i < 0 {
		return fmt.Errorf("there is no %s in quarantine", name)
	}
	if force {
		return r.vol.Drop(ctx, name)
	}
	if err := mayDrop(list[i], v); err != nil {
		return err
	}
	if err := r.allElsewhere(ctx, name, v); err != nil {
		return err
	}
	return r.vol.Drop(ctx, name)
}

// allElsewhere reads the logs of data in quarantine: what was received or executed between the comparison and its last moment is in none
// of the notes.
func (r *runner) allElsewhere(ctx context.Context, name string, v view) error {
	data, err := os.OpenRoot(filepath.Join(r.vol.Path(), "quarantine", name, "data"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its removal has begun
	}
	if err != nil {
		return err
	}
	defer data.Close()
	for _, base := range []string{binlogName, relayLogName} {
		logged, err := binlog.Logged(ctx, data, base)
		if err != nil {
			return fmt.Errorf("kept: what it has cannot be read: %w", err)
		}
		if lost := logged.Subtract(v.safe()); !lost.IsEmpty() {
			return fmt.Errorf("kept: no pod in service is known to have %d of its transactions (%s)", lost.Count(), orNotKnown(lost.String()))
		}
	}
	return nil
}

// mayDrop says why an entry may not go: it has, or may have, the last copy of a transaction.
func mayDrop(e volume.QuarantineEntry, v view) error {
	if e.OnlyHere == nil {
		return errors.New("kept: " + nobodyKnows + "; agent quarantine drop --even-the-last-copy removes it all the same")
	}
	only, err := mysqlx.ParseGTIDSet(*e.OnlyHere)
	if err != nil {
		return fmt.Errorf("kept: what only it has cannot be read: %w", err)
	}
	if lost := only.Subtract(v.safe()); !lost.IsEmpty() {
		return fmt.Errorf("kept: no pod in service has %d of its transactions (%s); agent quarantine drop --even-the-last-copy removes it all the same",
			lost.Count(), orNotKnown(lost.String()))
	}
	return nil
}

// safe is what the set's source has, as far as this pod knows.
func (v view) safe() mysqlx.GTIDSet {
	if v.Role == RoleSource {
		return v.Mysqld.Facts.GTIDExecuted
	}
	set, err := mysqlx.ParseGTIDSet(v.Source.Status.GTIDExecuted)
	if err != nil || v.Source.Status.ClusterID != v.ClusterID {
		return mysqlx.GTIDSet{}
	}
	return set
}

// spare is the oldest data in quarantine that nobody needs: every transaction in it is in service elsewhere.
func spare(list []volume.QuarantineEntry, v view) (name string, ok bool) {
	for _, e := range list {
		if e.Problem == "" && e.OnlyHere != nil && mayDrop(e, v) == nil {
			return e.Name, true
		}
	}
	return "", false
}
