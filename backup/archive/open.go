package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"ordinal/backup"
	"ordinal/backup/store"
)

// openers are the ways to decrypt what an archive holds. There is one for each run of an archiver, and with a passphrase each takes a moment to be
// made.
type openers struct {
	keys backup.Keys
	mu   sync.Mutex
	all  map[string]*backup.Packer // by encryption
}

const (
	unpackAtOnce = 4
	maxOpeners   = 256 // that are kept
)

func newOpeners(keys backup.Keys) *openers {
	return &openers{keys: keys, all: map[string]*backup.Packer{}}
}

func (o *openers) get(e *backup.Encryption) (*backup.Packer, error) {
	name, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.all[string(name)]; p != nil {
		return p, nil
	}
	p, err := backup.OpenPacker(e, o.keys, unpackAtOnce)
	if err != nil {
		return nil, err
	}
	if len(o.all) >= maxOpeners {
		clear(o.all) // those in use go with their users
	}
	o.all[string(name)] = p
	return p, nil
}

// Open returns a segment as a binlog: magic, format description, previous GTIDs, and whole transactions with a further format description wherever
// the server began a new file. It ends without a Stop event. What is read was checked against the header's digest before. Memory: one part of the
// segment, packed and unpacked. The caller closes it.
//
// Errors, also while it is read: a [*backup.DamageError], a [*backup.WrongKeyError], and the store's.
func (x *Index) Open(ctx context.Context, s Segment) (io.ReadCloser, error) {
	r := &segmentReader{ctx: ctx, x: x, left: s.parts}
	if len(r.left) == 0 {
		return nil, errors.New("open segment: it is of no index")
	}
	if err := r.next(); err != nil {
		return nil, err
	}
	return r, nil
}

type segmentReader struct {
	ctx  context.Context // that of Open
	x    *Index
	left []part
	raw  []byte // not read yet
	err  error
}

func (r *segmentReader) Read(p []byte) (int, error) {
	for len(r.raw) == 0 && r.err == nil {
		if len(r.left) == 0 {
			r.err = io.EOF
			break
		}
		r.err = r.next()
	}
	if r.err != nil {
		return 0, r.err
	}
	n := copy(p, r.raw)
	r.raw = r.raw[n:]
	return n, nil
}

func (r *segmentReader) Close() error {
	r.raw, r.left = nil, nil
	if r.err == nil {
		r.err = errors.New("read segment: it is closed")
	}
	return nil
}

// next unpacks the next part, from the first place where it is as it should be.
func (r *segmentReader) next() error {
	p := r.left[0]
	r.left = r.left[1:]
	var first error
	for _, at := range p.places {
		raw, err := r.x.unpack(r.ctx, p, at)
		if err == nil {
			r.raw = raw
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return fmt.Errorf("read segment: %w", first)
}

// unpack returns a part as it was.
func (x *Index) unpack(ctx context.Context, p part, at place) ([]byte, error) {
	stored, err := readPart(ctx, x.reader, p, at)
	if err != nil {
		return nil, err
	}
	packer, err := x.openers.get(at.encryption)
	if err != nil {
		return nil, damaged(at.object, err)
	}
	raw, err := packer.Unpack(nil, stored, p.raw)
	if err != nil {
		return nil, damaged(at.object, err)
	}
	return raw, nil
}

// readPart returns a part as it is stored, and checks it.
func readPart(ctx context.Context, r store.Reader, p part, at place) ([]byte, error) {
	stored, err := readRange(ctx, r, at.object, at.offset, p.size)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, damaged(at.object, fmt.Errorf("%w: %w", backup.ErrMissing, err))
	case err != nil:
		return nil, err
	case int64(len(stored)) < p.size:
		return nil, damaged(at.object, backup.ErrTruncated)
	case backup.Digest(stored) != p.digest:
		return nil, damaged(at.object, backup.ErrDigest)
	}
	return stored, nil
}
