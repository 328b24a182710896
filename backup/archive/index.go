package archive

import (
	"slices"
	"strings"
	"time"

	"ordinal/backup"
	"ordinal/backup/store"
	"ordinal/mysqlx"
)

// A Segment is a part of the binary log: whole transactions in the order in which they were logged, as a binlog of their own.
type Segment struct {
	Name  string         // of the object that it is in, with the number there: for messages
	GTIDs mysqlx.GTIDSet // of its transactions
	// Before is what comes before the first of them: without all of that they cannot be executed.
	Before mysqlx.GTIDSet
	// Abandons are archived transactions that are not in the history that goes on here: the server that had them was lost, and others went on
	// without.
	Abandons     mysqlx.GTIDSet
	First, Last  time.Time // earliest and latest original commit, in microseconds, UTC
	Transactions int
	Bytes        int64  // of the binlog
	ServerUUID   string // of the server that it was read from
	Version      string // of that
	Cut          time.Time

	parts []part // in order; more than one for a long transaction
}

// A part is a piece of a segment in the store.
type part struct {
	digest    string
	size, raw int64
	places    []place // any of them will do
}

// A place is where the bytes of a part lie.
type place struct {
	object     string
	offset     int64
	encryption *backup.Encryption
}

// An Index says what an archive holds. It does not change, and may be used concurrently.
type Index struct {
	reader     store.Reader
	keys       backup.Keys
	openers    *openers
	segments   []Segment // by time of the cut
	objects    []object  // by name
	watermarks []watermark
	damaged    []error

	begin, known mysqlx.GTIDSet // before the first segment; named by anything, but abandoned
	abandoned    mysqlx.GTIDSet
	tip          Path
}

// An object is what holds segments in the store.
type object struct {
	name    string
	size    int64
	body    int64 // offset of the first member
	written time.Time
	header  header
}

// Segments returns all segments in the order in which they were written. They may overlap. The result is not to be changed.
func (x *Index) Segments() []Segment { return x.segments }

// Empty says whether there is nothing in the archive, and nothing that was and is damaged.
func (x *Index) Empty() bool { return len(x.segments) == 0 && len(x.damaged) == 0 && x.known.IsEmpty() }

// Damaged returns what is wrong with objects that were left out: they are in the store, and no segment of them is in the Index. Each is a
// [*backup.DamageError].
func (x *Index) Damaged() []error { return x.damaged }

// Begin returns the transactions before the archive's first one. A backup that has all of them can be brought forward.
func (x *Index) Begin() mysqlx.GTIDSet { return x.begin }

// Tip returns all transactions of the history that the archive is about, up to its end: those in it, those that are missing, and those before.
func (x *Index) Tip() mysqlx.GTIDSet { return x.known }

// Gaps returns the transactions that are missing between from, what a backup has, and the archive's end. Empty: nothing is.
func (x *Index) Gaps(from mysqlx.GTIDSet) mysqlx.GTIDSet { return x.Path(from, time.Time{}).Missing }

// Reaches returns the last point to which a backup can be brought that has from.
func (x *Index) Reaches(from mysqlx.GTIDSet) Point { return x.Path(from, time.Time{}).Reaches }

// CompleteUntil returns the time up to which nothing is missing at the archive's end, by the source's clock: whatever was acknowledged until then is
// in it. It may be later than the last transaction. Zero if not known.
func (x *Index) CompleteUntil() time.Time { return x.tip.Reaches.Time }

// assemble makes segments of the members of objects.
func (x *Index) assemble() {
	slices.SortFunc(x.objects, func(a, b object) int { return strings.Compare(a.name, b.name) })
	byDigest := map[string]int{} // whole segments
	series := map[string]*row{}
	for _, o := range x.objects {
		offset := o.body
		for i := range o.header.Members {
			m := &o.header.Members[i]
			p := place{object: o.name, offset: offset}
			if m.Encryption > 0 {
				p.encryption = &o.header.Encryption[m.Encryption-1]
			}
			offset += m.Size
			if m.Series != "" {
				r := series[m.Series]
				if r == nil {
					r = &row{parts: map[int]found{}}
					series[m.Series] = r
				}
				r.add(o, m, i, p)
				continue
			}
			if at, known := byDigest[m.Digest]; known && x.segments[at].GTIDs.Equal(m.gtids) {
				x.segments[at].parts[0].places = append(x.segments[at].parts[0].places, p)
				continue
			}
			byDigest[m.Digest] = len(x.segments)
			x.segments = append(x.segments, segmentOf(o.name, i, m, m.Raw, []part{{m.Digest, m.Size, m.Raw, []place{p}}}))
		}
	}
	for _, r := range series {
		if s, ok := r.segment(); ok {
			x.segments = append(x.segments, s)
		}
	}
	slices.SortStableFunc(x.segments, func(a, b Segment) int {
		if c := a.Cut.Compare(b.Cut); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	x.survey()
}

func segmentOf(object string, number int, m *member, raw int64, parts []part) Segment {
	return Segment{
		Name: memberName(object, number), GTIDs: m.gtids, Before: m.previous, Abandons: m.abandons, First: m.First.UTC(), Last: m.Last.UTC(),
		Transactions: m.Transactions, Bytes: raw, ServerUUID: m.ServerUUID, Version: m.Server, Cut: m.Cut.UTC(), parts: parts,
	}
}

// A row is the parts of one long transaction.
type row struct {
	parts map[int]found
	last  int // number of the last part; 0: not seen
}

type found struct {
	object string
	number int
	m      *member
	part
}

func (r *row) add(o object, m *member, number int, p place) {
	if f, known := r.parts[m.Part]; known && f.digest == m.Digest {
		f.places = append(f.places, p)
		r.parts[m.Part] = f
		return
	}
	r.parts[m.Part] = found{o.name, number, m, part{m.Digest, m.Size, m.Raw, []place{p}}}
	if m.LastPart {
		r.last = m.Part
	}
}

// segment returns the whole, if all parts are there.
func (r *row) segment() (s Segment, ok bool) {
	if r.last == 0 || len(r.parts) != r.last {
		return s, false
	}
	first, ok := r.parts[1]
	if !ok {
		return s, false
	}
	var parts []part
	var raw int64
	for i := 1; i <= r.last; i++ {
		f, ok := r.parts[i]
		if !ok || !f.m.gtids.Equal(first.m.gtids) || !f.m.previous.Equal(first.m.previous) {
			return s, false
		}
		parts = append(parts, f.part)
		raw += f.raw
	}
	s = segmentOf(first.object, first.number, first.m, raw, parts)
	s.Cut = r.parts[r.last].m.Cut.UTC()
	return s, true
}

// survey finds out where the archive begins and ends.
func (x *Index) survey() {
	for _, s := range x.segments {
		x.abandoned = x.abandoned.Union(s.Abandons).Subtract(s.GTIDs)
		x.known = x.known.Union(s.Before).Union(s.GTIDs)
	}
	for _, w := range x.watermarks {
		x.known = x.known.Union(w.GTIDs)
	}
	x.known = x.known.Subtract(x.abandoned)
	x.begin = x.first()
	x.tip = x.Path(x.begin, time.Time{})
}

// first returns what comes before the segment that has the least before it. Without segments that is what a watermark says.
func (x *Index) first() mysqlx.GTIDSet {
	if len(x.segments) == 0 {
		return x.known
	}
	least := x.segments[0].Before
	for _, s := range x.segments[1:] {
		if least.Contains(s.Before) {
			least = s.Before
		}
	}
	return least
}
