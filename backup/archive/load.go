package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"ordinal/backup"
	"ordinal/backup/store"
)

const (
	firstRead   = 16 << 10 // bytes of an object that are read at first: most headers fit
	readAtOnce  = 16
	maxObjects  = 2_000_000
	loadedAgain = 5
)

// Load reads the headers of an archive. Objects whose header is damaged are named by [Index.Damaged]; objects that others remove meanwhile, because
// they put them together, are looked for again. Errors: the store's; a [*backup.WrongKeyError] if something was sealed with a key that is not there.
// An archive that does not exist is empty.
func Load(ctx context.Context, r store.Reader, keys backup.Keys) (*Index, error) {
	var err error
	for range loadedAgain {
		l := &loader{r: r, keys: keys}
		if err = l.load(ctx); err == nil && !l.gone {
			return l.index(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("read the archive: %w", err)
		}
	}
	err = errors.New("objects were removed each time it was read")
	return nil, fmt.Errorf("read the archive: %w", &store.Error{Op: "list", Name: segmentPrefix, Kind: store.ErrUnavailable, Err: err})
}

type loader struct {
	r    store.Reader
	keys backup.Keys

	mu      sync.Mutex
	objects []object
	damaged []error
	gone    bool // an object was removed after it had been listed
}

func (l *loader) load(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readAtOnce)
	seen := 0
	for info, err := range l.r.List(ctx, segmentPrefix, "") {
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		if !segmentForm.MatchString(info.Name) {
			continue // nobody's
		}
		if seen++; seen > maxObjects {
			return errors.Join(fmt.Errorf("more than %d objects", maxObjects), g.Wait())
		}
		g.Go(func() error { return l.read(ctx, info) })
	}
	return g.Wait()
}

// read reads the header of one object.
func (l *loader) read(ctx context.Context, info store.Info) error {
	o, err := readObject(ctx, l.r, l.keys, info)
	l.mu.Lock()
	defer l.mu.Unlock()
	var wrongKey *backup.WrongKeyError
	var damage *backup.DamageError
	switch {
	case err == nil:
		l.objects = append(l.objects, o)
	case errors.Is(err, store.ErrNotFound):
		l.gone = true
	case errors.As(err, &wrongKey):
		return fmt.Errorf("%s: %w", info.Name, err)
	case errors.As(err, &damage):
		l.damaged = append(l.damaged, err)
	default:
		return err
	}
	return nil
}

// readObject returns what the header of an object says. Errors: a *backup.DamageError, a *backup.WrongKeyError, or the store's.
func readObject(ctx context.Context, r store.Reader, keys backup.Keys, info store.Info) (object, error) {
	begin, err := readRange(ctx, r, info.Name, 0, min(firstRead, info.Size))
	if err != nil {
		return object{}, err
	}
	headerSize, sealSize, err := decodePreface(begin)
	if err != nil {
		return object{}, damaged(info.Name, fmt.Errorf("%w: %w", backup.ErrManifest, err))
	}
	body := int64(prefaceSize + headerSize + sealSize)
	if body > info.Size {
		return object{}, damaged(info.Name, backup.ErrTruncated)
	}
	if more := body - int64(len(begin)); more > 0 {
		rest, err := readRange(ctx, r, info.Name, int64(len(begin)), more)
		if err != nil {
			return object{}, err
		}
		begin = append(begin, rest...)
	}
	h, err := decodeObject(begin[:min(body, int64(len(begin)))], info.Size, keys)
	if err != nil {
		return object{}, damaged(info.Name, err)
	}
	return object{name: info.Name, size: info.Size, body: body, written: h.Written, header: h}, nil
}

// readRange reads length bytes of an object, or what there is of them.
func readRange(ctx context.Context, r store.Reader, name string, offset, length int64) ([]byte, error) {
	body, err := r.Open(ctx, name, offset, length)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b := make([]byte, length)
	n, err := io.ReadFull(body, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return b[:n], err
}

// damaged makes an error of what is wrong with an object; one of the keys stays what it is.
func damaged(name string, err error) error {
	var wrongKey *backup.WrongKeyError
	if errors.As(err, &wrongKey) {
		return err
	}
	for _, kind := range []error{
		backup.ErrVersion, backup.ErrEdited, backup.ErrTruncated, backup.ErrLonger, backup.ErrDigest, backup.ErrBomb, backup.ErrPacked, backup.ErrSealed,
		backup.ErrMissing,
	} {
		if errors.Is(err, kind) {
			return &backup.DamageError{Object: name, Kind: kind, Err: err}
		}
	}
	return &backup.DamageError{Object: name, Kind: backup.ErrManifest, Err: err}
}

func (l *loader) index(ctx context.Context) (*Index, error) {
	x := &Index{reader: l.r, keys: l.keys, openers: newOpeners(l.keys), objects: l.objects, damaged: l.damaged}
	var err error
	if x.watermarks, err = loadWatermarks(ctx, l.r, l.keys); err != nil {
		return nil, fmt.Errorf("read the archive: %w", err)
	}
	x.assemble()
	return x, nil
}

func memberName(object string, number int) string { return fmt.Sprintf("%s#%d", object, number+1) }
