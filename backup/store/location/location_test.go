package location_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ordinal/backup/store"
	"ordinal/backup/store/location"
)

func TestParse(t *testing.T) {
	for raw, want := range map[string]string{
		"file:///backups":                "file:///backups",
		"file:///backups/a%20b/../c/":    "file:///backups/c",
		"s3://bucket":                    "s3://bucket",
		"s3://bucket/":                   "s3://bucket",
		"s3://bucket/a/b/":               "s3://bucket/a/b",
		"s3://bucket/a?region=eu-west-1": "s3://bucket/a?region=eu-west-1",
		"s3://bucket/a?endpoint=https://minio:9000&path-style=true&ca-file=/etc/ca.pem&checksum=md5": "s3://bucket/a?endpoint=https%3A//minio:9000&path-style=true&checksum=md5&ca-file=/etc/ca.pem",
		"s3://bucket?endpoint=http://[::1]:9000/":                                                    "s3://bucket?endpoint=http%3A//%5B%3A%3A1%5D%3A9000/",
	} {
		l, err := location.Parse(raw)
		if err != nil {
			t.Errorf("Parse(%s): %v", raw, err)
			continue
		}
		again, err := location.Parse(l.String())
		if err != nil || again.String() != l.String() {
			t.Errorf("Parse(%s) is shown as %s, which is %s, %v", raw, l, again, err)
		}
		if got := strings.ReplaceAll(l.String(), "%3A", ":"); got != strings.ReplaceAll(want, "%3A", ":") {
			t.Errorf("Parse(%s) = %s, want %s", raw, got, want)
		}
	}
}

// A bad URL gives one line that says why and repeats no part that could be a secret.
func TestParseRefuses(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                  "empty",
		"/backups":                          "no scheme",
		"backups":                           "no scheme",
		"http://planted/x":                  "not file or s3",
		"file://backups":                    "three slashes",
		"file:///":                          "whole file system",
		"file:///a/..":                      "whole file system",
		"file:///a?x=planted":               "no parameters",
		"file:///a#planted":                 "scheme://place",
		"file:a":                            "scheme://place",
		"s3:bucket":                         "scheme://place",
		"s3://":                             "not the name of a bucket",
		"s3://UPPER":                        "not the name of a bucket",
		"s3://a..b":                         "not the name of a bucket",
		"s3://bucket:9000/x":                "name of a bucket",
		"s3://key:planted@bucket/x":         "credentials",
		"s3://key:plan/ted@bucket/x":        "not a URL",
		"s3://planted@bucket/x":             "credentials",
		"s3://bucket/a//b":                  "prefix",
		"s3://bucket/../b":                  "prefix",
		"s3://bucket/a b":                   "prefix",
		"s3://bucket?secret-key=planted":    `parameter "secret-key"`,
		"s3://bucket?region=":               "region needs one value",
		"s3://bucket?region=a&region=b":     "region needs one value",
		"s3://bucket?path-style=planted":    "true or false",
		"s3://bucket?checksum=planted":      "crc32c, md5 or none",
		"s3://bucket?ca-file=planted":       "absolute path",
		"s3://bucket?endpoint=planted:9000": "endpoint",
		"s3://bucket?endpoint=https://key:planted@host": "endpoint",
		"s3://bucket?endpoint=https://host/planted":     "endpoint",
		"s3://bucket?endpoint=ftp://planted":            "endpoint",
		"s3://bucket?endpoint=https://:planted":         "endpoint",
		"s3://bucket?a=%zzplanted":                      "not well formed",
		"s3://bucket/%zzplanted":                        "not a URL",
	} {
		_, err := location.Parse(raw)
		var bad *location.Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), want) || strings.ContainsAny(err.Error(), "\n\r") || bad.Hint() == "" {
			t.Errorf("Parse(%s) = %v, want %q", raw, err, want)
		}
		if strings.Contains(fmt.Sprint(err), "planted") || strings.Contains(fmt.Sprint(err), "plan/ted") {
			t.Errorf("Parse(%s) repeats it: %v", raw, err)
		}
	}
}

func TestOpen(t *testing.T) {
	s, err := location.Open(t.Context(), "file://"+t.TempDir(), location.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "x", -1, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	s, err = location.Open(t.Context(), "file://"+t.TempDir()+"/none", location.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(t.Context(), "x"); !errors.Is(err, store.ErrNoPlace) {
		t.Errorf("Stat() = %v, want %v", err, store.ErrNoPlace)
	}
	if _, err := location.Open(t.Context(), "s3://bucket/x?endpoint=https://host:9000", location.Options{PartSize: 8 << 20}); err != nil {
		t.Error(err)
	}
	for _, file := range []string{"/nonexistent/ca.pem", "/dev/null"} {
		if _, err := location.Open(t.Context(), "s3://bucket/x?ca-file="+file, location.Options{}); err == nil || !strings.Contains(err.Error(), "ca-file") {
			t.Errorf("Open() with ca-file %s = %v", file, err)
		}
	}
	if _, err := (location.Location{}).Open(location.Options{}); err == nil {
		t.Error("Open() of nothing succeeds")
	}
}

func FuzzParse(f *testing.F) {
	for _, raw := range []string{"file:///a", "s3://bucket/a?endpoint=https://host", "s3://k:s@b", "s3://b?path-style=true&checksum=md5"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		l, err := location.Parse(raw)
		if err != nil {
			return
		}
		again, err := location.Parse(l.String())
		if err != nil || again.String() != l.String() {
			t.Errorf("Parse(%q) is shown as %s, which is %s, %v", raw, l, again, err)
		}
	})
}
