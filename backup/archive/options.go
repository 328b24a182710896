package archive

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"ordinal/backup"
	"ordinal/backup/store"
	"ordinal/mysqlx"
)

// Defaults of Options.
const (
	DefaultSegmentBytes   = 16 << 20
	DefaultSegmentAge     = 5 * time.Second
	DefaultWatermarkEvery = 10 * time.Second
	DefaultCompactEvery   = 10 * time.Minute
	DefaultGrace          = 5 * time.Second

	minSegmentBytes = 64 << 10
	sampleEvery     = time.Second
)

// Options say what is archived, and where to. Server, Store, Keys, Cluster and Set are needed; the rest has defaults.
type Options struct {
	Server Server
	// Source is whose transactions count for rpo_seconds, where Server is a replica of it. nil: Server itself.
	Source Clock
	Store  store.Store
	// Keys has at least a key for seals. With recipients or a passphrase what is archived is encrypted; an identity is not needed.
	Keys         backup.Keys
	Cluster, Set string // as in the store's marker

	// Begin is what need not be archived when an archive is begun: that of the oldest backup, for example. Empty: everything that is in the server's
	// binlogs is archived.
	Begin mysqlx.GTIDSet

	// SegmentBytes is how much of the binary log one segment holds at most. Memory is about four times that while transactions come faster than they
	// are stored, and little otherwise.
	SegmentBytes int
	// SegmentAge is how long a transaction waits at most before its segment is stored.
	SegmentAge time.Duration
	// WatermarkEvery is how often it is written down up to when everything is archived.
	WatermarkEvery time.Duration
	// CompactEvery is how often small objects are put together; negative: never.
	CompactEvery time.Duration
	Compact      CompactOptions
	// Grace is how long Run goes on storing what was read after its context has ended. 0: DefaultGrace.
	Grace time.Duration
	// Patience is how long a call of the store is tried again before its failure shows in the status. It is tried again after that as well.
	Patience store.Patience
}

func (o *Options) complete() error {
	switch {
	case o.Server == nil || o.Store == nil:
		return errors.New("archive: a server and a store are needed")
	case len(o.Keys.Seal) == 0:
		return errors.New("archive: a key for seals is needed: the cluster secret")
	case o.Cluster == "" || o.Set == "":
		return errors.New("archive: a cluster and a set are needed")
	}
	o.SegmentBytes = cmp.Or(o.SegmentBytes, DefaultSegmentBytes)
	if o.SegmentBytes < minSegmentBytes || o.SegmentBytes > maxRaw {
		return fmt.Errorf("archive: segments of %d bytes: want %d to %d", o.SegmentBytes, minSegmentBytes, maxRaw)
	}
	o.SegmentAge = cmp.Or(o.SegmentAge, DefaultSegmentAge)
	o.WatermarkEvery = cmp.Or(o.WatermarkEvery, DefaultWatermarkEvery)
	o.CompactEvery = cmp.Or(o.CompactEvery, DefaultCompactEvery)
	o.Grace = cmp.Or(o.Grace, DefaultGrace)
	if o.Source == nil {
		o.Source = o.Server
	}
	o.Patience.Pause = cmp.Or(o.Patience.Pause, 200*time.Millisecond)
	o.Patience.Longest = cmp.Or(o.Patience.Longest, 5*time.Second)
	o.Patience.Total = cmp.Or(o.Patience.Total, 20*time.Second)
	return nil
}
