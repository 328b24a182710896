package main

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// A timeValue is a point in time as people write it: 2026-11-21T12:00:00Z, or "2026-11-21 12:00:00.5", which is UTC.
type timeValue time.Time

const timeAllowed = `a time, like 2026-11-21T12:00:00Z, or "2026-11-21 12:00:00", which is UTC`

var timeForms = []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"}

var errNotTime = errors.New("not a time")

func parseTime(text string) (time.Time, error) {
	for _, form := range timeForms {
		if t, err := time.Parse(form, strings.TrimSpace(text)); err == nil && t.Year() > 1970 {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errNotTime
}

// Set parses text.
func (v *timeValue) Set(text string) error {
	t, err := parseTime(text)
	if err == nil {
		*v = timeValue(t)
	}
	return err
}

func (v *timeValue) String() string {
	if time.Time(*v).IsZero() {
		return ""
	}
	return time.Time(*v).Format(time.RFC3339Nano)
}

// Type is what the help calls the value.
func (v *timeValue) Type() string { return "time" }

// An ageValue is a duration that may be long: 36h, 30d or 8w. A day has 24 hours.
type ageValue time.Duration

var ageUnits = map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour}

const (
	ageAllowed = "0 or a duration, like 36h, 30d or 8w"
	maxAge     = 100 * 366 * 24 * time.Hour
)

var errNotAge = errors.New("not an age")

// Set parses text.
func (v *ageValue) Set(text string) error {
	d, err := time.ParseDuration(text)
	for suffix, unit := range ageUnits {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			var n int
			n, err = strconv.Atoi(number)
			if n > int(maxAge/unit) {
				err = errNotAge
			}
			d = time.Duration(n) * unit
		}
	}
	if err != nil || d < 0 || d > maxAge {
		return errNotAge
	}
	*v = ageValue(d)
	return nil
}

func (v *ageValue) String() string {
	d := time.Duration(*v)
	if day := ageUnits["d"]; d > 0 && d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	return d.String()
}

// Type is what the help calls the value.
func (v *ageValue) Type() string { return "age" }
