package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"ordinal/internal/testing/localset"
)

const otherSecret = "another-cluster-secret-0123456789abcdefghij"

// TestDamagedBackups: one encrypted backup of a real set, damaged in every way. Each damage has one clear line and its exit code, in agent verify and in
// agent restore; nothing is written but below the directory that was named, and a volume that something is restored onto keeps serving what it has.
func TestDamagedBackups(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 6*time.Minute)
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	d := &damagedBackup{store: t.TempDir(), identities: keyFile(t, identity.String())}
	s := localset.ForTest(t, localset.Options{Replicas: 1, Database: "shop"})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1)"))
	x := newTool(t, s, "file://"+d.store)
	d.id = x.backUp(ctx, "--segment-size=16MiB", "--encrypt-to="+identity.Recipient().String()).ID
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (2)"))
	d.tool = x.with("AGENT_IDENTITY_FILE=" + d.identities)
	d.tool.must(ctx, "verify", d.id)
	d.forget(t)

	t.Run("segments", func(t *testing.T) { d.segments(ctx, t) })
	t.Run("manifest", func(t *testing.T) { d.manifest(ctx, t) })
	t.Run("keys", func(t *testing.T) { d.keys(ctx, t) })
	t.Run("place", func(t *testing.T) { d.places(ctx, t) })
	t.Run("volume", func(t *testing.T) { d.volume(ctx, t, s) })
	d.tool.mustHaveLeftNothing()
	if o := d.tool.run(ctx, "verify", d.id); o.code != 0 {
		t.Errorf("undamaged again, it is not as it was: %s", o.stderr)
	}
}

// A damagedBackup is a backup in a directory that can be damaged and healed.
type damagedBackup struct {
	tool       tool
	store      string // directory
	id         string
	identities string // file
}

// path of one of the backup's objects.
func (d *damagedBackup) path(name string) string {
	return filepath.Join(d.store, "backups", d.id, name)
}

// segmentNames returns the paths of all segments.
func (d *damagedBackup) segmentNames(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob(d.path("segments/*"))
	must(t, err)
	if len(all) < 3 {
		t.Fatalf("the backup has %d segments, which is too few", len(all))
	}
	return all
}

// forget removes what a verification has kept beside the backup.
func (d *damagedBackup) forget(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.path("verified.json")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

// mustRefuse wants both commands to end with a code and one line that matches.
func (d *damagedBackup) mustRefuse(ctx context.Context, t *testing.T, x tool, code int, what string) {
	t.Helper()
	into := filepath.Join(t.TempDir(), "beside")
	must(t, os.WriteFile(into, []byte("somebody's"), 0o600))
	before := listing(t, into)
	for _, args := range [][]string{{"verify", d.id}, {"restore", d.id, "--into=" + filepath.Join(filepath.Dir(into), "into")}} {
		o := x.run(ctx, args...)
		said := o.said()
		if o.code != code || len(said) == 0 || len(said) > 2 || !regexp.MustCompile("^agent: .*"+what).MatchString(said[0]) {
			t.Errorf("agent %s: exit code %d, want %d and one line that matches %q, with a hint at most:\n%s", args[0], o.code, code, what, strings.Join(said, "\n"))
		}
		if strings.Contains(o.stdout, "all as they were written") || strings.Contains(o.stdout, "is restored in") {
			t.Errorf("agent %s is content: %s", args[0], o.stdout)
		}
	}
	mustBeUntouched(t, before, into)
	// Whatever is there can be taken for a data directory by nobody: a server refuses to start on it.
	restored := filepath.Join(filepath.Dir(into), "into")
	if left, err := os.ReadDir(restored); err == nil && len(left) > 0 {
		if _, err := os.Stat(filepath.Join(restored, "#clone", "#status_in_progress")); err != nil {
			t.Errorf("the unfinished directory is not marked: %v", err)
		}
	}
	d.forget(t)
}

func (d *damagedBackup) segments(ctx context.Context, t *testing.T) {
	names := d.segmentNames(t)
	for i, name := range names {
		content, err := os.ReadFile(name)
		must(t, err)
		next, err := os.ReadFile(names[(i+1)%len(names)])
		must(t, err)
		flipped := bytes.Clone(content)
		flipped[(i*7919)%len(flipped)] ^= 1 << (i % 8)
		object := regexp.QuoteMeta("segments/" + filepath.Base(name))
		for _, damage := range []struct {
			name    string
			content []byte // nil: none
			what    string
		}{
			{"truncated", content[:len(content)*(i+1)/(len(names)+1)], "is shorter than it was"},
			{"flipped", flipped, "has changed"},
			{"swapped", next, "(lies in another's place|is shorter than it was|is longer than it was)"},
			{"missing", nil, "is missing"},
		} {
			t.Run(fmt.Sprintf("%s %s", filepath.Base(name), damage.name), func(t *testing.T) {
				if damage.content == nil {
					must(t, os.Remove(name))
				} else {
					must(t, os.WriteFile(name, damage.content, 0o640))
				}
				d.mustRefuse(ctx, t, d.tool, 82, object+": .*"+damage.what)
				must(t, os.WriteFile(name, content, 0o640))
			})
		}
	}
}

func (d *damagedBackup) manifest(ctx context.Context, t *testing.T) {
	path := d.path("manifest.json")
	content, err := os.ReadFile(path)
	must(t, err)
	edit := func(pattern, replacement string) []byte {
		t.Helper()
		edited := regexp.MustCompile(pattern).ReplaceAll(content, []byte(replacement))
		if bytes.Equal(edited, content) {
			t.Fatalf("the manifest has nothing like %s", pattern)
		}
		return edited
	}
	for _, damage := range []struct {
		name    string
		content []byte
		what    string
	}{
		{"size", edit(`("bytes": ?)`, "${1}1"), "changed after it was sealed"},
		{"gtid set", edit(`("gtid_at_least": ?"[^"]*:)1`, "${1}2"), "changed after it was sealed"},
		{"digest", edit(`("blake3": ?")([0-9a-f]{4})`, "${1}0000"), "changed after it was sealed"},
		{"cut off", content[:len(content)/2], "manifest is damaged"},
		{"emptied", []byte{}, "manifest is damaged"},
		{"of the future", edit(`("version": ?)1`, "${1}2"), "unknown version"},
	} {
		t.Run(damage.name, func(t *testing.T) {
			must(t, os.WriteFile(path, damage.content, 0o640))
			d.mustRefuse(ctx, t, d.tool, 82, damage.what)
			must(t, os.WriteFile(path, content, 0o640))
		})
	}
}

func (d *damagedBackup) keys(ctx context.Context, t *testing.T) {
	stranger, err := age.GenerateX25519Identity()
	must(t, err)
	const noKey = "none of the keys given fits"
	for name, x := range map[string]tool{
		"no key":       d.tool.with("AGENT_IDENTITY_FILE="),
		"wrong key":    d.tool.with("AGENT_IDENTITY_FILE=" + keyFile(t, stranger.String())),
		"passphrase":   d.tool.with("AGENT_IDENTITY_FILE=", "AGENT_PASSPHRASE_FILE="+keyFile(t, "not what it was encrypted with")),
		"other secret": d.tool.with("AGENT_SECRET_FILE=" + newSecret(t, otherSecret)),
	} {
		t.Run(name, func(t *testing.T) { d.mustRefuse(ctx, t, x, 84, noKey) })
	}
}

// places are no stores of this set's.
func (d *damagedBackup) places(ctx context.Context, t *testing.T) {
	foreign := t.TempDir()
	must(t, os.WriteFile(filepath.Join(foreign, "holiday.jpg"), []byte("JPEG"), 0o600))
	other := t.TempDir()
	must(t, os.WriteFile(filepath.Join(other, ".ordinal"), []byte(`{"format": "ordinal backup store", "version": 1, "cluster_id": "0123456789abcdef", "set": "mysql"}`), 0o600))
	for name, tt := range map[string]struct {
		dir          string
		backup, rest int // exit codes: for who would write, and for who reads
		what         string
	}{
		"somebody's directory": {foreign, 80, 82, "(holiday.jpg|no set keeps its backups in)"},
		"another cluster's":    {other, 80, 82, "(0123456789abcdef|no backup for @latest)"},
		"not there":            {filepath.Join(foreign, "away"), 78, 78, "there is no such place"},
	} {
		t.Run(name, func(t *testing.T) {
			x := d.tool.with("AGENT_STORE=file://" + tt.dir)
			before := listing(t, tt.dir)
			into := filepath.Join(t.TempDir(), "into")
			x.run(ctx, "backup").mustRefuse(t, tt.backup, tt.what, ".")
			x.run(ctx, "verify").mustRefuse(t, tt.rest, tt.what, ".")
			x.run(ctx, "restore", "--into="+into).mustRefuse(t, tt.rest, tt.what, ".")
			mustBeUntouched(t, before, tt.dir)
			if _, err := os.Stat(into); err == nil {
				t.Error("the directory to restore into was made")
			}
		})
	}
}

// volume: a pod's volume, in use and not, keeps what it serves.
func (d *damagedBackup) volume(ctx context.Context, t *testing.T, s *localset.Set) {
	volume := s.Pod(0).Volume
	restore := []string{"restore", d.id, "--volume=" + volume}
	d.tool.run(ctx, restore...).mustRefuse(t, 75, "in use|locked|another", ".")
	if got := one(ctx, t, s, 0, "SELECT COUNT(*) FROM shop.t"); got != "2" {
		t.Errorf("the pod that runs has %s rows, want 2", got)
	}

	must(t, s.Scale(ctx, 0))
	generations, err := filepath.Glob(filepath.Join(volume, "gen", "*"))
	must(t, err)
	before := listing(t, generations...)
	names := d.segmentNames(t)
	last := names[len(names)-1]
	must(t, os.Rename(last, last+".away"))
	o := d.tool.run(ctx, restore...)
	if o.code != 82 {
		t.Errorf("a damaged backup onto a volume: exit code %d\n%s", o.code, o.stderr)
	}
	mustBeUntouched(t, before, generations...)
	d.tool.with("AGENT_IDENTITY_FILE=").run(ctx, restore...).mustRefuse(t, 84, "none of the keys given fits", ".")
	must(t, os.Rename(last+".away", last))
	must(t, s.Scale(ctx, 1))
	must(t, s.WaitReady(ctx))
	if got := one(ctx, t, s, 0, "SELECT COUNT(*) FROM shop.t"); got != "2" {
		t.Errorf("after a restore that failed the pod has %s rows, want 2", got)
	}

	must(t, s.Scale(ctx, 0))
	d.tool.must(ctx, restore...)
	must(t, s.Scale(ctx, 1))
	must(t, s.WaitReady(ctx))
	if got := one(ctx, t, s, 0, "SELECT COUNT(*) FROM shop.t"); got != "1" {
		t.Errorf("after the restore the pod has %s rows, want 1", got)
	}
	if kept, err := filepath.Glob(filepath.Join(volume, "quarantine", "*")); err != nil || len(kept) != 1 {
		t.Errorf("in quarantine: %v (%v), want what was served before", kept, err)
	}
}

// keyFile writes a key and returns its path.
func keyFile(t *testing.T, key string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(path, []byte(key+"\n"), 0o600))
	return path
}
