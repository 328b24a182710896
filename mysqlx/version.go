package mysqlx

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// A Version is a server's version without its suffix: 9.7.4 of "9.7.4-2".
type Version struct{ Major, Minor, Patch int }

// minVersion is the first release with the clone plugin. See refman/8.0 clone-plugin.
var minVersion = Version{8, 0, 17}

// ParseVersion reads what @@version says: three numbers, then anything after a character that is neither digit nor dot.
func ParseVersion(s string) (Version, error) {
	numbers := s
	if i := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }); i >= 0 {
		numbers = s[:i]
	}
	parts := strings.Split(numbers, ".")
	if len(parts) != 3 {
		return Version{}, fmt.Errorf("server version %q: not of the form 9.7.4", s)
	}
	var n [3]int
	for i, part := range parts {
		v, err := strconv.Atoi(part)
		if err != nil || len(part) > 6 {
			return Version{}, fmt.Errorf("server version %q: not of the form 9.7.4", s)
		}
		n[i] = v
	}
	return Version{n[0], n[1], n[2]}, nil
}

// String returns the three numbers with dots.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Compare returns -1, 0 or 1 as v is older than, the same as or newer than o. Parts are compared as integers.
func (v Version) Compare(o Version) int {
	return cmp.Or(cmp.Compare(v.Major, o.Major), cmp.Compare(v.Minor, o.Minor), cmp.Compare(v.Patch, o.Patch))
}

// AtLeast says whether v is the given release or a newer one.
func (v Version) AtLeast(major, minor, patch int) bool {
	return v.Compare(Version{major, minor, patch}) >= 0
}

// An UnsupportedError says that a server is not one we can work with.
type UnsupportedError struct{ Server, Reason string }

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("server %s is not supported: %s", e.Server, e.Reason)
}

// Hint says what to do about it.
func (e *UnsupportedError) Hint() string {
	return "use MySQL " + minVersion.String() + " or newer; 8.4 and 9.7 are the long-term releases"
}

// CheckSupported returns an *UnsupportedError for a release without the clone plugin. It cannot know MariaDB, whose numbers are higher:
// see the function CheckSupported.
func (v Version) CheckSupported() error {
	if v.Compare(minVersion) < 0 {
		return &UnsupportedError{v.String(), "older than " + minVersion.String()}
	}
	return nil
}

// CheckSupported takes @@version and @@version_comment as the server says them and returns an *UnsupportedError for anything that is
// not MySQL 8.0.17 or newer.
func CheckSupported(version, comment string) error {
	if both := strings.ToLower(version + " " + comment); strings.Contains(both, "mariadb") {
		return &UnsupportedError{version, "it is MariaDB, which has no clone plugin and other GTIDs"}
	}
	v, err := ParseVersion(version)
	if err != nil {
		return &UnsupportedError{version, "unreadable version"}
	}
	return v.CheckSupported()
}

type series struct{ major, minor int }

// ltsSuccessor lists which long-term series may be cloned into which other one. The rule begins with 9.7, whose successor is announced
// as 28.4: year and month, not the next integer. See refman/9.7 clone-plugin-remote.
var ltsSuccessor = map[series]series{
	{9, 7}: {28, 4},
}

// CheckCloneVersions says whether a server of version recipient starts on data cloned from a donor of version donor. Both are
// @@version strings; what follows the numbers is ignored. The error names both. See refman/9.7 clone-plugin-remote.
func CheckCloneVersions(donor, recipient string) error {
	d, err := ParseVersion(donor)
	if err != nil {
		return fmt.Errorf("donor: %w", err)
	}
	r, err := ParseVersion(recipient)
	if err != nil {
		return fmt.Errorf("recipient: %w", err)
	}
	ds, rs := series{d.Major, d.Minor}, series{r.Major, r.Minor}
	switch {
	case d == r:
		return nil
	case ds == rs && ds == series{8, 0}:
		// Patches of 8.0 may differ from 8.0.37 on.
		if d.Patch >= 37 && r.Patch >= 37 {
			return nil
		}
		return fmt.Errorf("clone from %s to %s: before 8.0.37 both servers must have the same version", d, r)
	case ds == rs && d.AtLeast(8, 1, 0):
		return nil
	}
	if successor, ok := ltsSuccessor[ds]; ok && successor == rs {
		return nil
	}
	return fmt.Errorf("clone from %s to %s: not possible between these series; use servers of the same series", d, r)
}
