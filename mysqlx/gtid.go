package mysqlx

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

const (
	maxGTIDText = 1 << 20           // bytes accepted by ParseGTIDSet: some 20 000 servers or intervals
	maxGTIDTag  = 32                // characters of a tag
	maxGNO      = math.MaxInt64 - 1 // the server's largest transaction number
	uuidLength  = 36
)

// A GTIDSet is a set of transactions: what @@gtid_executed holds. It is a value that never changes; the zero value is the empty set.
// Tags, known to servers from 8.3 on, are understood. See refman/8.4 replication-gtids-concepts.
type GTIDSet struct {
	groups []gtidGroup // sorted by source, without duplicates, none empty; shared between sets and never written to
}

// gtidSource is where transactions of one numbering come from.
type gtidSource struct {
	uuid [16]byte
	tag  string // lower case, "" for none
}

func (s gtidSource) compare(o gtidSource) int {
	return cmp.Or(bytes.Compare(s.uuid[:], o.uuid[:]), cmp.Compare(s.tag, o.tag))
}

type gtidGroup struct {
	gtidSource
	intervals []interval // sorted, with a gap between any two
}

// interval holds first to last, both included.
type interval struct{ first, last uint64 }

// ParseGTIDSet reads the server's text form, in any order and case and with any white space around the parts. It is stricter than the
// server, which reads some damaged sets as smaller ones: a server UUID or tag without an interval and an interval that runs backwards
// are errors here. Text longer than 1 MiB is refused.
func ParseGTIDSet(s string) (GTIDSet, error) {
	if len(s) > maxGTIDText {
		return GTIDSet{}, fmt.Errorf("gtid set of %d bytes: longer than %d", len(s), maxGTIDText)
	}
	found := make(map[gtidSource][]interval)
	for part := range strings.SplitSeq(s, ",") {
		if part = trimGTID(part); part == "" {
			continue
		}
		if err := parseGTIDPart(part, found); err != nil {
			return GTIDSet{}, fmt.Errorf("gtid set: %q: %w", shorten(part), err)
		}
	}
	return newGTIDSet(found), nil
}

// parseGTIDPart reads uuid[:tag]:interval[:interval]…[:tag:interval…]….
func parseGTIDPart(part string, found map[gtidSource][]interval) error {
	name, rest, more := strings.Cut(part, ":")
	var source gtidSource
	var err error
	if source.uuid, err = parseUUID(trimGTID(name)); err != nil {
		return err
	}
	pending := true // an interval must follow
	for more {
		var item string
		item, rest, more = strings.Cut(rest, ":")
		item = trimGTID(item)
		if isTag(item) {
			if pending && source.tag != "" {
				break
			}
			source.tag, pending = strings.ToLower(item), true
			continue
		}
		iv, err := parseInterval(item)
		if err != nil {
			return err
		}
		found[source] = append(found[source], iv)
		pending = false
	}
	if pending {
		return fmt.Errorf("no interval after the server uuid or tag")
	}
	return nil
}

func parseUUID(s string) (id [16]byte, err error) {
	if len(s) != uuidLength || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, fmt.Errorf("not a server uuid")
	}
	if n, err := hex.Decode(id[:], []byte(strings.ReplaceAll(s, "-", ""))); err != nil || n != len(id) {
		return id, fmt.Errorf("not a server uuid")
	}
	return id, nil
}

func isTag(s string) bool {
	if s == "" || len(s) > maxGTIDTag {
		return false
	}
	for i := range len(s) {
		c := s[i] | 0x20 // lower case of a letter
		letter := c >= 'a' && c <= 'z' || s[i] == '_'
		if !letter && (i == 0 || s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return true
}

func parseInterval(s string) (interval, error) {
	first, last, isRange := strings.Cut(s, "-")
	a, err := parseGNO(trimGTID(first))
	if err != nil {
		return interval{}, err
	}
	if !isRange {
		return interval{a, a}, nil
	}
	b, err := parseGNO(trimGTID(last))
	if err != nil {
		return interval{}, err
	}
	if b < a {
		return interval{}, fmt.Errorf("interval %d-%d runs backwards", a, b)
	}
	return interval{a, b}, nil
}

func parseGNO(s string) (uint64, error) {
	if strings.HasPrefix(s, "+") {
		return 0, fmt.Errorf("not a transaction number")
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n < 1 || n > maxGNO {
		return 0, fmt.Errorf("transaction number %q is not between 1 and %d", shorten(s), uint64(maxGNO))
	}
	return n, nil
}

// trimGTID removes the white space that the server skips. It prints a line feed after each comma.
func trimGTID(s string) string { return strings.Trim(s, " \t\n\v\f\r") }

func shorten(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// newGTIDSet sorts and joins what was found, and keeps the slices.
func newGTIDSet(found map[gtidSource][]interval) GTIDSet {
	groups := make([]gtidGroup, 0, len(found))
	for source, intervals := range found {
		if intervals = normalize(intervals); len(intervals) > 0 {
			groups = append(groups, gtidGroup{source, intervals})
		}
	}
	slices.SortFunc(groups, func(a, b gtidGroup) int { return a.compare(b.gtidSource) })
	return GTIDSet{groups}
}

// normalize sorts intervals in place and joins those that touch or overlap.
func normalize(intervals []interval) []interval {
	slices.SortFunc(intervals, func(a, b interval) int { return cmp.Compare(a.first, b.first) })
	joined := intervals[:0]
	for _, iv := range intervals {
		if n := len(joined); n > 0 && iv.first <= joined[n-1].last+1 {
			joined[n-1].last = max(joined[n-1].last, iv.last)
			continue
		}
		joined = append(joined, iv)
	}
	return joined
}

// String returns the set as the server prints it, on one line: the server's line feed after each comma is left out.
func (s GTIDSet) String() string {
	var b []byte
	for i, g := range s.groups {
		if i == 0 || g.uuid != s.groups[i-1].uuid {
			if i > 0 {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, "%x-%x-%x-%x-%x", g.uuid[:4], g.uuid[4:6], g.uuid[6:8], g.uuid[8:10], g.uuid[10:])
		}
		if g.tag != "" {
			b = append(append(b, ':'), g.tag...)
		}
		for _, iv := range g.intervals {
			b = strconv.AppendUint(append(b, ':'), iv.first, 10)
			if iv.last > iv.first {
				b = strconv.AppendUint(append(b, '-'), iv.last, 10)
			}
		}
	}
	return string(b)
}

// MarshalText returns String.
func (s GTIDSet) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText sets s to what ParseGTIDSet reads.
func (s *GTIDSet) UnmarshalText(text []byte) error {
	set, err := ParseGTIDSet(string(text))
	if err != nil {
		return err
	}
	*s = set
	return nil
}

// IsEmpty says whether the set holds no transaction.
func (s GTIDSet) IsEmpty() bool { return len(s.groups) == 0 }

// Count returns the number of transactions, or the largest uint64 if there are more.
func (s GTIDSet) Count() uint64 {
	var total uint64
	for _, g := range s.groups {
		for _, iv := range g.intervals {
			n := iv.last - iv.first + 1
			if total > math.MaxUint64-n {
				return math.MaxUint64
			}
			total += n
		}
	}
	return total
}

// Equal says whether both sets hold the same transactions.
func (s GTIDSet) Equal(o GTIDSet) bool {
	return slices.EqualFunc(s.groups, o.groups, func(a, b gtidGroup) bool {
		return a.gtidSource == b.gtidSource && slices.Equal(a.intervals, b.intervals)
	})
}

// Contains says whether every transaction of o is in s, as GTID_SUBSET(o, s) does.
func (s GTIDSet) Contains(o GTIDSet) bool { return o.Subtract(s).IsEmpty() }

// Union returns the transactions that are in s or in o.
func (s GTIDSet) Union(o GTIDSet) GTIDSet {
	if s.IsEmpty() {
		return o
	}
	if o.IsEmpty() {
		return s
	}
	found := make(map[gtidSource][]interval, len(s.groups)+len(o.groups))
	for _, groups := range [][]gtidGroup{s.groups, o.groups} {
		for _, g := range groups {
			found[g.gtidSource] = append(found[g.gtidSource], g.intervals...) // copies: the first append is to nil
		}
	}
	return newGTIDSet(found)
}

// Subtract returns the transactions of s that are not in o, as GTID_SUBTRACT(s, o) does.
func (s GTIDSet) Subtract(o GTIDSet) GTIDSet {
	var groups []gtidGroup
	for _, g := range s.groups {
		i, found := slices.BinarySearchFunc(o.groups, g.gtidSource, func(h gtidGroup, want gtidSource) int { return h.compare(want) })
		if found {
			g.intervals = subtract(g.intervals, o.groups[i].intervals)
		}
		if len(g.intervals) > 0 {
			groups = append(groups, g)
		}
	}
	return GTIDSet{groups}
}

// subtract walks both sorted lists once.
func subtract(from, remove []interval) []interval {
	var left []interval
	for _, iv := range from {
		for len(remove) > 0 && remove[0].last < iv.first {
			remove = remove[1:]
		}
		// An interval of remove may reach into the next one of from as well: look, do not take.
		for _, r := range remove {
			if r.first > iv.last {
				break
			}
			if r.first > iv.first {
				left = append(left, interval{iv.first, r.first - 1})
			}
			iv.first = r.last + 1
			if iv.first > iv.last {
				break
			}
		}
		if iv.first <= iv.last {
			left = append(left, iv)
		}
	}
	return left
}
