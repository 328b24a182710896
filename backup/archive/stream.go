package archive

import (
	"errors"
	"fmt"

	"ordinal/internal/binlog"
)

// errEnough ends a stream that has brought what was wanted.
var errEnough = errors.New("that is enough")

// stream puts the transactions of a dump into b until the dump ends. idle is called between events now and then, also when there are none; each is
// called after each transaction. Their errors end it. It always returns an error; what b holds is whole transactions then.
func stream(d Dump, b *builder, idle func() error, each func(binlog.Beginning) error) error {
	f := newFeed(d, idle)
	err := events(f, b, idle, each)
	b.drop()
	if f.err != nil {
		err = f.err
	}
	return err
}

func events(f *feed, b *builder, idle func() error, each func(binlog.Beginning) error) error {
	r, err := binlog.NewStream("dump", f)
	if err != nil {
		return err
	}
	b.setDescription(r.Description())
	for {
		e, err := r.Next()
		if err != nil {
			return err
		}
		switch {
		case e.Type == binlog.TypeFormatDescription && !b.open:
			b.setDescription(r.Description())
			continue
		case b.open && (e.Begins() || e.Type == binlog.TypeFormatDescription || e.Type == binlog.TypePreviousGTIDs || e.Type == binlog.TypeRotate):
			return fmt.Errorf("read dump: %v in the middle of transaction %s", e.Type, b.begun.GTID())
		case e.Begins():
			t, err := r.Beginning(e)
			if err != nil {
				return err
			}
			if err := b.begin(t); err != nil {
				return err
			}
		case !b.open && e.StandsAlone():
			continue
		case !b.open:
			return fmt.Errorf("read dump: %v outside of a transaction", e.Type)
		}
		if err := r.Copy(b); err != nil {
			return err
		}
		if err := b.eventEnd(); err != nil {
			return err
		}
		if !b.open {
			if err := each(b.begun); err != nil {
				return err
			}
			if err := idle(); err != nil {
				return err
			}
		}
	}
}
