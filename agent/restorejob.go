package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"ordinal/backup"
	"ordinal/backup/archive"
	"ordinal/backup/replay"
	"ordinal/backup/store"
	"ordinal/internal/atomicfile"
	"ordinal/internal/mysqld"
	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// A RestoreJob restores a backup, as a process of its own: onto the volume of a pod that does not run, or into a directory.
type RestoreJob struct {
	Store    store.Store
	StoreURL string      // without secrets; noted for who replays later
	Keys     backup.Keys // with Seal
	Manifest *backup.Manifest

	// Volume is the pod's volume. What it serves goes to quarantine when the pod runs again. Or
	Volume string
	// Into is a directory that is not there, is empty, or holds what an interrupted call has left: it becomes a data directory.
	Into string

	// Until is up to where the archive is replayed; nil: it is not. On a volume agent run does that, before anybody may write; in a directory this process does,
	// with a server of its own.
	Until  *replay.Target
	Mysqld string // path of that server's program; "": see mysqld.Find
	// AgentPasswords are those that the agent's account may have in the data, the likeliest first: that server is logged in to with them. Without any it knows no
	// accounts, and cannot execute statements about accounts.
	AgentPasswords []string

	Log *zap.Logger
}

// A RestorePlan says what a restore will do. Fields are only ever added.
type RestorePlan struct {
	Backup        string    `json:"backup"`
	MadeAt        time.Time `json:"made_at"`
	ServerVersion string    `json:"server_version"`
	Place         string    `json:"place"` // of the new data
	Bytes         uint64    `json:"bytes"` // that it takes, about
	FreeBytes     uint64    `json:"free_bytes"`
	StoredBytes   uint64    `json:"stored_bytes"`           // to be read from the store
	Quarantine    string    `json:"quarantine,omitempty"`   // what is taken out of service; "": nothing
	GoesOn        bool      `json:"goes_on"`                // with what an interrupted restore has left
	Until         string    `json:"until,omitempty"`        // up to where the archive is replayed; "": it is not
	Reaches       string    `json:"reaches,omitempty"`      // gtid_executed then
	Transactions  uint64    `json:"transactions,omitempty"` // to be executed, about
}

// Lines is the plan for people.
func (p *RestorePlan) Lines() []string {
	lines := []string{
		fmt.Sprintf("restore backup %s, made at %s by MySQL %s", p.Backup, p.MadeAt.UTC().Format(time.RFC3339), p.ServerVersion),
		fmt.Sprintf("into %s: about %d bytes, of which %d are read from the store; %d are free", p.Place, p.Bytes, p.StoredBytes, p.FreeBytes),
	}
	if p.GoesOn {
		lines = append(lines, "an interrupted restore of it goes on")
	}
	if p.Quarantine != "" {
		lines = append(lines, "what is there is kept: "+p.Quarantine)
	}
	if p.Until != "" {
		lines = append(lines, fmt.Sprintf("then replay the archive up to %s: %d transactions, after which gtid_executed is %s", p.Until, p.Transactions, orNotKnown(p.Reaches)))
	}
	return lines
}

// Plan finds out what Run would do, and whether it can: the target in the archive included. It changes nothing. Errors are those of Run.
func (j *RestoreJob) Plan(ctx context.Context) (*RestorePlan, error) {
	m := j.Manifest
	p := &RestorePlan{Backup: m.ID, MadeAt: m.Created, ServerVersion: m.ServerVersion, Bytes: m.Bytes, StoredBytes: m.StoredBytes, Place: j.Into}
	look := j.Into
	if j.Volume != "" {
		look, p.Place = j.Volume, filepath.Join(j.Volume, "gen")
		content, err := volume.Inspect(j.Volume)
		if err != nil {
			return nil, err
		}
		if err := restorable(content); err != nil {
			return nil, err
		}
		if content.Kind == volume.Complete || content.Kind == volume.Switching {
			p.Quarantine = fmt.Sprintf("generation %d goes to quarantine when the pod runs again", content.Generation)
		}
		p.GoesOn = unfinishedRestore(content)
	} else if _, err := os.Stat(filepath.Join(j.Into, markerPath)); err == nil {
		p.GoesOn = true
	}
	free, _, err := space(existing(look))
	if err != nil {
		return nil, err
	}
	p.FreeBytes = free
	if j.Until == nil {
		return p, nil
	}
	plan, err := planReplay(ctx, j.Store, j.Keys, m, *j.Until)
	if err != nil {
		return nil, err
	}
	p.Until, p.Reaches, p.Transactions = j.Until.String(), plan.Until.String(), plan.Missing.Count()
	return p, nil
}

// existing is the directory, or the first of those above it that is there.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// planReplay proves that a target can be reached from a backup by the archive beside it.
func planReplay(ctx context.Context, place store.Reader, keys backup.Keys, m *backup.Manifest, until replay.Target) (*replay.Plan, error) {
	if at := until.Time; !at.IsZero() && m.Finished.After(at) {
		return nil, &tooNewError{manifest: m, until: at}
	}
	index, err := archive.Load(ctx, place, keys)
	if err != nil {
		return nil, err
	}
	base, err := baseOf(m)
	if err != nil {
		return nil, err
	}
	return replay.NewPlan(ctx, ReplayArchive(index), base, until)
}

// baseOf is what a server has that starts on a restored backup, as far as that is known.
func baseOf(m *backup.Manifest) (base replay.Base, err error) {
	if m.GTIDExecuted != "" {
		set, err := mysqlx.ParseGTIDSet(m.GTIDExecuted)
		return replay.Exactly(set), err
	}
	if base.AtLeast, err = mysqlx.ParseGTIDSet(m.GTIDAtLeast); err != nil {
		return base, err
	}
	base.AtMost, err = mysqlx.ParseGTIDSet(m.GTIDAtMost)
	base.AtMost = base.AtMost.Union(base.AtLeast)
	return base, err
}

// Run restores. It may be killed at any moment and called again: it goes on. What is served is touched by nothing but the last, atomic step, and is kept. With
// Until it is proven first that the target can be reached. Errors: *RefusedError, those of packages backup, replay, volume and mysqld.
func (j *RestoreJob) Run(ctx context.Context) error {
	plan, err := j.Plan(ctx)
	if err != nil {
		return err
	}
	if need := plan.Bytes; !plan.GoesOn && need > plan.FreeBytes {
		return &spaceError{Need: need, Have: plan.FreeBytes, Where: plan.Place}
	}
	meter := newRestoreMeter(ctx, j.Log, j.Manifest, nil, nil)
	r := &restoration{Store: j.Store, Keys: j.Keys, Manifest: j.Manifest, Log: j.Log, Meter: meter.read}
	if j.Volume != "" {
		defer meter.stop()
		return j.ontoVolume(ctx, r)
	}
	err = j.intoDirectory(ctx, r)
	meter.stop()
	if err != nil || j.Until == nil {
		return err
	}
	return j.replay(ctx)
}

// A spaceError says that a place has no room for a restore.
type spaceError struct {
	Need, Have uint64
	Where      string
}

func (e *spaceError) Error() string {
	return fmt.Sprintf("the restored data takes about %d bytes and %s has %d free: %d are missing", e.Need, e.Where, e.Have, e.Need-e.Have)
}

// Hint tells the operator what to do.
func (e *spaceError) Hint() string { return "make room, or give a larger volume; nothing was changed" }

// ExitCode returns ExitCannotCreate.
func (e *spaceError) ExitCode() int { return ExitCannotCreate }

// A tooNewError says that a backup may hold what was committed after the time that is asked for: an archive that begins with it could not tell.
type tooNewError struct {
	manifest *backup.Manifest
	until    time.Time
}

func (e *tooNewError) Error() string {
	return fmt.Sprintf("backup %s was finished at %s, after %s: it may have what was committed in between",
		e.manifest.ID, e.manifest.Finished.UTC().Format(time.RFC3339), e.until.UTC().Format(time.RFC3339Nano))
}

// Hint tells the operator what to do.
func (e *tooNewError) Hint() string {
	return "name an older backup, or none: then the newest one is taken that was finished before"
}

// ExitCode returns ExitNotRestorable.
func (e *tooNewError) ExitCode() int { return ExitNotRestorable }

// restorable says why data may not be restored onto a volume in its state.
func restorable(c *volume.Content) error {
	switch c.Kind {
	case volume.Empty, volume.Complete, volume.UnderWay, volume.Prepared:
		return nil
	}
	return &RefusedError{
		Reason: NewReason(CodeVolumeDamaged, "the volume is %v: nothing is restored onto it as it is", c.Kind),
		Remedy: "run agent init on it first, or give another volume",
	}
}

func (j *RestoreJob) ontoVolume(ctx context.Context, r *restoration) error {
	vol, err := volume.Open(j.Volume)
	if err != nil {
		return err
	}
	defer vol.Close() // ends with the process in any case
	content, err := vol.Inspect()
	if err != nil {
		return err
	}
	if err := restorable(content); err != nil {
		return err
	}
	if content.Kind == volume.Complete {
		used, err := vol.InUse(content.Generation)
		if err != nil {
			return err
		}
		if used {
			return &RefusedError{
				Reason: NewReason(CodeVolumeLocked, "a mysqld has the data of %s open", j.Volume), Remedy: "stop the pod first: scale the set down",
			}
		}
	}
	var after *afterwards
	if j.Until != nil {
		after = &afterwards{Target: *j.Until, Archive: j.StoreURL}
	}
	_, err = r.ontoVolume(ctx, vol, after)
	return err
}

// A server of 8.0.17 or later refuses to start on a directory with this file: see package volume.
const (
	markerDir  = "#clone"
	markerPath = "#clone/#status_in_progress"
)

// intoDirectory makes the data directory, but for the replay.
func (j *RestoreJob) intoDirectory(ctx context.Context, r *restoration) error {
	if done, err := j.waitsForReplay(); done || err != nil {
		return err
	}
	root, err := j.openInto()
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := r.fill(ctx, root); err != nil {
		if errors.Is(err, errOtherRestore) {
			err = &RefusedError{
				Reason: NewReason(CodeForeignData, "%s holds the beginning of another restore: %v", j.Into, err), Remedy: "remove it, or give another directory",
			}
		}
		return err
	}
	if j.Until != nil {
		if err := replay.WriteIntent(j.journal(), *j.Until, j.StoreURL, j.Manifest.ID); err != nil {
			return err
		}
	}
	if err := root.Remove(markerPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := atomicfile.SyncRootDir(root, markerDir); err != nil {
		return err
	}
	j.Log.Info("restored", zap.String("backup", j.Manifest.ID), zap.String("directory", j.Into))
	return nil
}

// journal is the path of the directory's own journal of a replay.
func (j *RestoreJob) journal() string { return filepath.Join(j.Into, replayJournal) }

// waitsForReplay reports whether an earlier call of the same job has restored everything, and its replay goes on.
func (j *RestoreJob) waitsForReplay() (bool, error) {
	if _, err := os.Lstat(filepath.Join(j.Into, markerPath)); err == nil || j.Until == nil {
		return false, nil
	}
	left, err := replay.ReadJournal(j.journal())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case left.Backup != j.Manifest.ID:
		return false, &RefusedError{
			Reason: NewReason(CodeForeignData, "%s holds backup %s, and what was archived after it is being executed", j.Into, left.Backup),
			Remedy: "name that backup and the same target to go on, or give another directory",
		}
	}
	return true, nil // whether the target is the same is for the replay to say
}

// openInto makes the directory, or takes up one that an interrupted call has left: with the marker, or with nothing but the marker's own directory.
func (j *RestoreJob) openInto() (*os.Root, error) {
	if err := os.MkdirAll(j.Into, 0o750); err != nil {
		return nil, fmt.Errorf("make the directory to restore into: %w", err)
	}
	root, err := os.OpenRoot(j.Into)
	if err != nil {
		return nil, fmt.Errorf("open the directory to restore into: %w", err)
	}
	if err := j.mark(root); err != nil {
		_ = root.Close() // a directory opened for reading
		return nil, err
	}
	return root, nil
}

// mark sees that the marker is there which keeps servers away.
func (j *RestoreJob) mark(root *os.Root) error {
	if _, err := root.Lstat(markerPath); err == nil {
		return nil
	}
	for _, dir := range []string{".", markerDir} {
		entries, err := fs.ReadDir(root.FS(), dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if dir != "." || e.Name() != markerDir || !e.IsDir() {
				return &RefusedError{
					Reason: NewReason(CodeForeignData, "%s is not empty: %s is there", j.Into, filepath.Join(dir, e.Name())), Remedy: "give a directory that is empty, or not there",
				}
			}
		}
	}
	if err := root.Mkdir(markerDir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return errors.Join(atomicfile.WriteRoot(root, markerPath, nil, 0o640), atomicfile.SyncRootDir(root, "."))
}

// replay executes the archive with a server of our own.
func (j *RestoreJob) replay(ctx context.Context) error {
	program, err := mysqld.Find(ctx, j.Mysqld)
	if err != nil {
		return err
	}
	index, err := archive.Load(ctx, j.Store, j.Keys)
	if err != nil {
		return err
	}
	options := mysqld.Options{Program: program.Path, DataDir: j.Into, ReadOnly: true, BinaryLog: true, PageSize: int(j.Manifest.PageSize)}
	execute := func(ctx context.Context, s *mysqld.Server) error {
		player := &replay.Replayer{DB: s.DB(), DataDir: j.Into, Journal: j.journal(), Archive: j.StoreURL, Backup: j.Manifest.ID}
		result, err := player.Run(ctx, ReplayArchive(index), *j.Until)
		if err != nil {
			return err
		}
		j.Log.Info("replayed the archive", zap.Uint64("transactions", result.Transactions), zap.Stringer("gtid_executed", result.Executed),
			zap.Duration("took", result.Took), zap.Strings("sleeping_events", result.SleepingEvents), zap.Int("prepared", result.Prepared))
		return nil
	}
	for _, password := range j.AgentPasswords {
		options.Login = mysqlx.Credentials{User: mysqlx.AgentAccount, Password: mysqlx.FixedPassword(password)}
		if err = mysqld.Run(ctx, options, execute); !mysqlx.IsAccessDenied(err) {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("log in to the restored server as %s: %w", mysqlx.AgentAccount, err)
	}
	j.Log.Warn("without the cluster secret the restored server knows no accounts: it cannot execute statements about accounts")
	options.NoAccounts = true
	return mysqld.Run(ctx, options, execute)
}
