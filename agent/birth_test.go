package agent

import (
	"strings"
	"testing"
	"time"

	"ordinal/internal/volume"
)

func TestParseRestorePoint(t *testing.T) {
	const id = "20261121T120000Z-0f1e2d3c"
	at := time.Date(2026, 11, 21, 12, 0, 0, 500_000_000, time.UTC)
	for _, c := range []struct{ text, store, backup, says string }{
		{"file:///backups", "file:///backups", "", "file:///backups@latest"},
		{"file:///backups@latest", "file:///backups", "", "file:///backups@latest"},
		{"file:///backups@" + id, "file:///backups", id, "file:///backups@" + id},
		{"s3://bucket/shop?endpoint=https://s3.example:9000@" + at.Format(time.RFC3339Nano), "s3://bucket/shop?endpoint=https://s3.example:9000", "", ""},
		{"file:///with@sign/backups", "file:///with@sign/backups", "", ""},
		{"file:///with@sign/backups@latest", "file:///with@sign/backups", "", ""},
	} {
		p, err := ParseRestorePoint(c.text)
		if err != nil || p.Store != c.store || p.Backup != c.backup || c.says != "" && p.String() != c.says {
			t.Errorf("ParseRestorePoint(%q) = %+v, %v", c.text, p, err)
		}
		if again, err := ParseRestorePoint(p.String()); err != nil || again.String() != p.String() {
			t.Errorf("%q is read as %v, %v", p, again, err)
		}
	}
	for text, why := range map[string]string{
		"":                           "names no store",
		"@latest":                    "names no store",
		"file:///backups@yesterday":  "nor a time",
		"file:///backups@":           "nor a time",
		"file:///backups@2026-11-21": "nor a time",
	} {
		if p, err := ParseRestorePoint(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("ParseRestorePoint(%q) = %+v, %v, want an error that says %q", text, p, err, why)
		}
	}
	if p, _ := ParseRestorePoint("file:///b@2026-11-21T12:00:00.5Z"); !p.Until.Time.Equal(at) {
		t.Errorf("until %v, want %v", p.Until.Time, at)
	}
}

func TestRestorable(t *testing.T) {
	for kind, ok := range map[volume.Kind]bool{
		volume.Empty: true, volume.Complete: true, volume.UnderWay: true, volume.Prepared: true,
		volume.Switching: false, volume.NeverCompleted: false, volume.ChangeUnderWay: false, volume.Foreign: false,
	} {
		if err := restorable(&volume.Content{Kind: kind}); (err == nil) != ok {
			t.Errorf("a volume that is %v: %v", kind, err)
		}
	}
}
