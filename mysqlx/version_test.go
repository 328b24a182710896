package mysqlx

import (
	"strings"
	"testing"
	"time"
)

func TestParseVersion(t *testing.T) {
	for in, want := range map[string]Version{
		"9.7.4-2":                 {9, 7, 4},
		"8.0.36-0ubuntu0.22.04.1": {8, 0, 36},
		"8.4.0":                   {8, 4, 0},
		"26.10.0":                 {26, 10, 0},
		"8.0.17-log":              {8, 0, 17},
	} {
		if got, err := ParseVersion(in); err != nil || got != want {
			t.Errorf("ParseVersion(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "9", "9.7", "9..4", "9.7.4.1", "x9.7.4", "9.7.99999999999999999999", "-9.7.4"} {
		if got, err := ParseVersion(in); err == nil {
			t.Errorf("ParseVersion(%q) = %v, want an error", in, got)
		}
	}
}

func TestVersionCompare(t *testing.T) {
	// Compared as text, 8.0.9 would be newer than 8.0.17 and 9.7.4 newer than 28.4.0.
	order := []Version{{8, 0, 9}, {8, 0, 17}, {8, 0, 37}, {8, 4, 0}, {9, 7, 4}, {10, 0, 0}, {28, 4, 0}}
	for i, a := range order {
		for j, b := range order {
			if got, want := a.AtLeast(b.Major, b.Minor, b.Patch), i >= j; got != want {
				t.Errorf("%v.AtLeast(%v) = %t, want %t", a, b, got, want)
			}
		}
	}
}

func TestCheckSupported(t *testing.T) {
	for _, test := range []struct {
		version, comment string
		ok               bool
	}{
		{"8.0.16", "MySQL Community Server - GPL", false},
		{"8.0.17", "MySQL Community Server - GPL", true},
		{"9.7.4-2", "(Debian)", true},
		{"5.7.44", "", false},
		{"10.11.6-MariaDB-0+deb12u1", "Debian 12", false},
		{"11.8.1", "mariadb.org binary distribution", false},
		{"", "", false},
	} {
		err := CheckSupported(test.version, test.comment)
		if (err == nil) != test.ok {
			t.Errorf("CheckSupported(%q, %q) = %v, want ok %t", test.version, test.comment, err, test.ok)
		}
	}
}

func TestCheckCloneVersions(t *testing.T) {
	for _, test := range []struct {
		donor, recipient string
		ok               bool
	}{
		{"8.0.17", "8.0.17-log", true},
		{"8.0.36", "8.0.37", false},
		{"8.0.37", "8.0.36", false},
		{"8.0.37", "8.0.46", true},
		{"8.0.46", "8.0.37", true},
		{"8.0.46", "8.4.0", false},
		{"8.4.0", "8.4.9", true},
		{"8.4.9", "9.7.0", false},
		{"9.7.4-2", "9.7.4", true},
		{"9.7.4", "9.7.0", true},
		{"9.7.4", "26.7.0", false},
		{"26.7.0", "26.7.1", true},
		{"26.7.0", "26.10.0", false},
		{"9.7.4", "28.4.0", true},
		{"28.4.0", "9.7.4", false},
		{"9.7.4", "10.7.0", false},
		{"8.4.9", "28.4.0", false},
		{"nonsense", "9.7.4", false},
	} {
		err := CheckCloneVersions(test.donor, test.recipient)
		if (err == nil) != test.ok {
			t.Errorf("CheckCloneVersions(%q, %q) = %v, want ok %t", test.donor, test.recipient, err, test.ok)
		}
	}
}

func TestStatements(t *testing.T) {
	src := Source{Host: "h", Port: 3306, User: "u", Password: `p'q\`}
	for _, test := range []struct {
		version                             Version
		change, start, stop, reset, autoPos string
	}{
		{Version{8, 0, 17}, "CHANGE MASTER TO MASTER_HOST = 'h'", "START SLAVE", "STOP SLAVE", "RESET SLAVE ALL", "MASTER_AUTO_POSITION = 1"},
		{Version{8, 0, 22}, "CHANGE MASTER TO MASTER_HOST = 'h'", "START REPLICA", "STOP REPLICA", "RESET REPLICA ALL", "MASTER_AUTO_POSITION = 1"},
		{Version{8, 0, 23}, "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'h'", "START REPLICA", "STOP REPLICA", "RESET REPLICA ALL", "SOURCE_AUTO_POSITION = 1"},
		{Version{9, 7, 4}, "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'h'", "START REPLICA", "STOP REPLICA", "RESET REPLICA ALL", "SOURCE_AUTO_POSITION = 1"},
	} {
		s := statementsFor(test.version)
		change := s.configureSource(src)
		if !strings.HasPrefix(change, test.change) || !strings.Contains(change, test.autoPos) || !strings.Contains(change, `'p''q\'`) {
			t.Errorf("%v: configureSource() = %s", test.version, change)
		}
		if s.start != test.start || s.stop != test.stop || s.resetAll != test.reset {
			t.Errorf("%v: %q, %q, %q, want %q, %q, %q", test.version, s.start, s.stop, s.resetAll, test.start, test.stop, test.reset)
		}
	}
}

func TestLag(t *testing.T) {
	const now = 100 * time.Second
	known := func(d time.Duration) *time.Duration { return &d }
	for _, test := range []struct {
		name              string
		receiver, applier string
		allApplied        bool
		oldest            time.Duration
		want              *time.Duration
	}{
		{"caught up", "ON", "ON", true, 0, known(0)},
		{"caught up long ago", "ON", "ON", true, time.Second, known(0)},
		{"caught up, applier off", "ON", "OFF", true, 0, known(0)},
		{"applying", "ON", "ON", false, 90 * time.Second, known(10 * time.Second)},
		{"source's clock ahead", "ON", "ON", false, 110 * time.Second, known(0)},
		{"nothing known of what waits", "ON", "ON", false, 0, nil},
		{"applier off", "ON", "OFF", false, 90 * time.Second, nil},
		{"receiver connecting", "CONNECTING", "ON", true, 0, nil},
		{"receiver off", "OFF", "ON", true, 0, nil},
	} {
		got := lag(test.receiver, test.applier, test.allApplied, test.oldest, now)
		if (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
			t.Errorf("%s: lag() = %v, want %v", test.name, got, test.want)
		}
	}
}

func TestTableName(t *testing.T) {
	for in, want := range map[string]string{
		"shop/orders": "shop.orders", "shop/orders#p#p0": "shop.orders", "shop/o#P#p0#SP#s": "shop.o", "ts1": "ts1", "d-x/t é#": "d-x.t é#",
	} {
		if got := tableName(in); got != want {
			t.Errorf("tableName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestOutside(t *testing.T) {
	for _, test := range []struct {
		file string
		want bool
	}{
		{"./shop/orders.ibd", false}, {"mysql.ibd", false}, {"../other/t.ibd", true},
		{"/data/t.ibd", false}, {"/database/t.ibd", true}, {"/mnt/x/t.ibd", true}, {"/data/../mnt/t.ibd", true},
	} {
		if got := outside(test.file, "/data/"); got != test.want {
			t.Errorf("outside(%q) = %t, want %t", test.file, got, test.want)
		}
	}
}
