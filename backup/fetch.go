package backup

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
	"lukechampine.com/blake3"

	"ordinal/backup/store"
)

// Open returns the manifest of a backup, after it was found to be whole, of this backup, and sealed by one of the keys. Errors: [*DamageError] of kind
// [ErrNoBackup], [ErrManifest], [ErrVersion] or [ErrEdited]; [*WrongKeyError]; the store's.
func Open(ctx context.Context, from store.Reader, id string, k Keys) (*Manifest, error) {
	m, err := Peek(ctx, from, id)
	if err != nil {
		return nil, err
	}
	return m, m.CheckSeal(k)
}

// Peek is Open for those who have no keys, or want to see what cannot be trusted. Nothing may be decided from what it returns before CheckSeal.
func Peek(ctx context.Context, from store.Reader, id string) (*Manifest, error) {
	if _, err := ParseID(id); err != nil {
		return nil, err
	}
	name := ManifestName(id)
	data, err := store.ReadSmall(ctx, from, name, MaxManifest)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, &DamageError{Backup: id, Kind: ErrNoBackup}
	case errors.Is(err, store.ErrSize):
		return nil, &DamageError{Backup: id, Object: name, Kind: ErrManifest, Err: err}
	case err != nil:
		return nil, fmt.Errorf("read the manifest of backup %s: %w", id, err)
	}
	m, err := DecodeManifest(data)
	if err == nil && m.ID != id {
		err = &DamageError{Kind: ErrManifest, Err: fmt.Errorf("it is that of backup %s", m.ID)}
	}
	if damage := (*DamageError)(nil); errors.As(err, &damage) {
		damage.Backup, damage.Object = id, name
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// ReadAttachment returns an attachment of a backup, as it was written. Errors: [*DamageError]; [store.ErrNotFound] if the manifest names none of
// that name; the store's.
func ReadAttachment(ctx context.Context, from store.Reader, m *Manifest, name string) ([]byte, error) {
	for _, a := range m.Attachments {
		if a.Name == name {
			return m.attached(a).read(ctx, from, nil, nil)
		}
	}
	return nil, fmt.Errorf("attachment %q of backup %s: %w", name, m.ID, store.ErrNotFound)
}

// An object is one that a manifest names.
type object struct {
	backup, name, digest string
	size                 int64
}

func (m *Manifest) object(index int) object {
	s := m.Segments[index-1]
	return object{backup: m.ID, name: SegmentName(m.ID, index), digest: s.Digest, size: s.Size}
}

func (m *Manifest) attached(a Attachment) object {
	return object{backup: m.ID, name: Dir(m.ID) + a.Name, digest: a.Digest, size: a.Size}
}

func (o object) damage(kind, err error) error {
	return &DamageError{Backup: o.backup, Object: o.name, Kind: kind, Err: err}
}

// read returns the object's content, which is as it was written, in memory if that has room. others says to which object a digest belongs; it may be nil.
func (o object) read(ctx context.Context, from store.Reader, memory []byte, others func(digest string) (name string, ok bool)) ([]byte, error) {
	if int64(cap(memory)) < o.size+1 {
		memory = make([]byte, o.size+1) // bounded by what a manifest may say
	}
	in, err := o.open(ctx, from)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	n, err := io.ReadFull(in, memory[:o.size+1])
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return nil, fmt.Errorf("read %s: %w", o.name, err)
	}
	content := memory[:min(int64(n), o.size)]
	if int64(n) == o.size && Digest(content) == o.digest {
		return content, nil
	}
	return nil, o.explain(ctx, from, int64(n), others)
}

func (o object) open(ctx context.Context, from store.Reader) (io.ReadCloser, error) {
	in, err := from.Open(ctx, o.name, 0, o.size+1)
	if errors.Is(err, store.ErrNotFound) {
		return nil, o.damage(ErrMissing, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", o.name, err)
	}
	return in, nil
}

// check reads the object and keeps nothing of it.
func (o object) check(ctx context.Context, from store.Reader, read func(n int64), others func(digest string) (string, bool)) error {
	in, err := o.open(ctx, from)
	if err != nil {
		return err
	}
	defer in.Close()
	hash := blake3.New(32, nil)
	n, err := io.Copy(hash, in)
	if err != nil {
		return fmt.Errorf("read %s: %w", o.name, err)
	}
	if n == o.size && hexDigest(hash) == o.digest {
		if read != nil {
			read(n)
		}
		return nil
	}
	return o.explain(ctx, from, n, others)
}

// explain says what is wrong with an object of which n bytes could be read, at most one more than it should have.
func (o object) explain(ctx context.Context, from store.Reader, n int64, others func(digest string) (string, bool)) error {
	if others != nil {
		if digest, err := digestOf(ctx, from, o.name); err == nil {
			if digest == o.digest {
				return fmt.Errorf("read %s: the store returned something else than it does now: %w", o.name, store.ErrUnavailable)
			}
			if other, ok := others(digest); ok {
				return o.damage(ErrSwapped, fmt.Errorf("it has the content of %s", other))
			}
		}
	}
	switch {
	case n < o.size:
		return o.damage(ErrTruncated, fmt.Errorf("%d bytes of %d", n, o.size))
	case n > o.size:
		return o.damage(ErrLonger, fmt.Errorf("more than %d bytes", o.size))
	}
	return o.damage(ErrDigest, nil)
}

// digestOf returns the digest of an object as it is, whatever its size.
func digestOf(ctx context.Context, from store.Reader, name string) (string, error) {
	in, err := from.Open(ctx, name, 0, maxStored)
	if err != nil {
		return "", err
	}
	defer in.Close()
	hash := blake3.New(32, nil)
	if _, err := io.Copy(hash, in); err != nil {
		return "", err
	}
	return hexDigest(hash), nil
}

// others returns a function that says to which segment a digest belongs.
func (m *Manifest) others() func(digest string) (name string, ok bool) {
	return func(digest string) (string, bool) {
		for _, s := range m.Segments {
			if s.Digest == digest {
				return SegmentName(m.ID, s.Index), true
			}
		}
		return "", false
	}
}

// checkStored asks the store for everything that a manifest names: what there is and of which size, and if full what is in it.
func checkStored(ctx context.Context, from store.Reader, m *Manifest, full bool, parallel int, read func(n int64)) error {
	objects := make([]object, 0, len(m.Segments)+len(m.Attachments))
	for _, s := range m.Segments {
		objects = append(objects, m.object(s.Index))
	}
	for _, a := range m.Attachments {
		objects = append(objects, m.attached(a))
	}
	if err := checkSizes(ctx, from, m, objects); err != nil {
		return err
	}
	if !full {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(parallel, 1))
	for _, o := range objects {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return o.check(ctx, from, read, m.others()) })
	}
	return g.Wait()
}

// checkSizes asks the store for what there is of a backup, and of which size.
func checkSizes(ctx context.Context, from store.Reader, m *Manifest, objects []object) error {
	lacking := make(map[string]object, len(objects))
	for _, o := range objects {
		lacking[o.name] = o
	}
	for info, err := range from.List(ctx, Dir(m.ID), "") {
		if err != nil {
			return fmt.Errorf("list backup %s: %w", m.ID, err)
		}
		o, ours := lacking[info.Name]
		switch {
		case !ours:
		case info.Size < o.size:
			return o.damage(ErrTruncated, fmt.Errorf("%d bytes of %d", info.Size, o.size))
		case info.Size > o.size:
			return o.damage(ErrLonger, fmt.Errorf("%d bytes instead of %d", info.Size, o.size))
		default:
			delete(lacking, info.Name)
		}
	}
	for _, o := range objects {
		if _, missing := lacking[o.name]; missing {
			return o.damage(ErrMissing, nil)
		}
	}
	return nil
}
