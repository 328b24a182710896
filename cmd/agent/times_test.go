package main

import (
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-11-21T12:00:00Z": noon, "2026-11-21T14:00:00+02:00": noon, "2026-11-21 12:00:00Z": noon, "2026-11-21 12:00:00": noon, "2026-11-21T12:00": noon,
		" 2026-11-21 12:00 ": noon, "2026-11-21": noon.Add(-12 * time.Hour), "2026-11-21 12:00:00.123456": noon.Add(123456 * time.Microsecond),
		"2026-11-21T12:00:00.5Z": noon.Add(time.Second / 2),
	} {
		if got, err := parseTime(text); err != nil || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("parseTime(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "now", "12:00", "21.11.2026", "2026-13-01", "2026-11-21T25:00:00Z", "2026-11-21 12:00:00 CET", "1732190400", "0000-01-01", "1970-01-01"} {
		if got, err := parseTime(text); err == nil {
			t.Errorf("parseTime(%q) = %v, want an error", text, got)
		}
	}
}

func TestAge(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{"0": 0, "36h": 36 * time.Hour, "30d": 30 * day, "8w": 56 * day, "1h30m": 90 * time.Minute, "0d": 0} {
		var v ageValue
		if err := v.Set(text); err != nil || time.Duration(v) != want {
			t.Errorf("Set(%q) = %v, %v, want %v", text, time.Duration(v), err, want)
		}
		var again ageValue
		if err := again.Set(v.String()); err != nil || again != v {
			t.Errorf("Set(%q) of %q = %v, %v", v.String(), text, again, err)
		}
	}
	for _, text := range []string{"", "d", "30", "-1d", "-5h", "1.5d", "1e3d", "99999999999d", "9999999h", "30D", "1y"} {
		var v ageValue
		if err := v.Set(text); err == nil {
			t.Errorf("Set(%q) = %v, want an error", text, time.Duration(v))
		}
	}
}

// Whatever is taken for an age is one, and says what it is.
func FuzzAge(f *testing.F) {
	for _, text := range []string{"0", "36h", "30d", "8w", "-1d", "1h30m", "999999999999999999999d", "w"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var v, again ageValue
		if v.Set(text) != nil {
			return
		}
		if d := time.Duration(v); d < 0 || d > maxAge {
			t.Errorf("Set(%q) = %v", text, d)
		}
		if err := again.Set(v.String()); err != nil || again != v {
			t.Errorf("%q says that it is %q, which is %v (%v)", text, v.String(), time.Duration(again), err)
		}
	})
}
