package store

import (
	"context"
	"io"
	"iter"
	"time"
)

// A Store keeps objects under names for which [CheckName] is nil. Its methods may be called concurrently, by any number of processes on any number of
// machines, and need nothing to be closed but the readers of Open.
//
// Whatever goes wrong comes back as an [*Error], which matches one of the Err… of this package where a caller can do something about it. When ctx ends a
// method returns its cause and stops what it does, as soon as the kernel lets go of it: a directory on a file server that hangs does not.
type Store interface {
	Reader
	Writer
	Keeper
}

// A Reader is what it takes to find and to restore a backup. It changes nothing in the store.
type Reader interface {
	// Open returns length bytes of an object from offset on, or what there is of them: past the end that is nothing, and no error. A negative length
	// means all that follow. The caller closes the reader, and uses it from one goroutine at a time; it ends with ctx.
	//
	// The reader never ends too early in silence: io.EOF means that all bytes asked for have been returned. It reads from one state of the object even
	// if that is replaced or deleted meanwhile, or it fails. It does not check what it reads: whoever wrote the object knows its digest.
	//
	// A reader that is [Versioned] can be told from one of another state. [ErrNotFound] comes from Open, not from the first Read. The memory held by a reader is less than 1 MiB.
	Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error)

	// Stat returns what is known of an object. [ErrNotFound] if there is none.
	Stat(ctx context.Context, name string) (Info, error)

	// List yields the objects whose name begins with prefix and is greater than after (both may be empty), in the order of the names' bytes. It fetches
	// them page by page; leaving the loop ends it. After an error nothing more is yielded. An object that is there all the time is yielded exactly once;
	// one that comes or goes meanwhile is, or is not. Things in the place whose names are not those of objects are left out.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]
}

// A Writer is what it takes to make and to remove a backup.
type Writer interface {
	// Put stores what r yields up to io.EOF as an object and replaces the one that had this name. When it returns nil the object is durable and can be
	// read and listed everywhere. When it returns an error the former state is still there, unless the answer to the very last step was lost:
	// then it is the new one. Nobody ever sees anything between the two, also when the process is killed.
	//
	// size is the number of bytes that r yields, or -1 if that is not known; any other number of bytes is [ErrSize]. An error of r, which must end when
	// ctx does, is in the chain of Put's. r is read once, from one goroutine, and by nobody after Put has returned; whoever made it closes it.
	//
	// Of two Puts at the same time the later one wins. The memory held does not depend on size.
	Put(ctx context.Context, name string, size int64, r io.Reader) error

	// PutIfAbsent is Put for an object that must not be there yet, of at most [MaxSmall] bytes: [ErrExists] if it is, and then nothing was changed. Of
	// several calls at the same time one succeeds.
	//
	// Some S3-compatible servers ignore the condition. There the object is looked for before and compared afterwards, and of calls at the very same
	// moment more than one can still succeed: rely on names that nobody else uses, and on this only to notice mistakes.
	PutIfAbsent(ctx context.Context, name string, data []byte) error

	// Delete removes an object for good. Without one of that name it does nothing and returns nil.
	Delete(ctx context.Context, name string) error
}

// A Keeper looks after the place itself.
type Keeper interface {
	// Sweep removes what writers left behind that were killed in the middle of a Put, if it was begun longer than age ago, and returns how many. Nothing
	// of it could be seen as an object. It touches nothing that is not a store's own; age keeps it from the work of writers on other machines.
	Sweep(ctx context.Context, age time.Duration) (removed int, err error)

	// Anything returns the name of one thing that lies in the place, be it an object or not, and "" if it is empty. lost+found, what Sweep removes and,
	// in a directory, entries that begin with a dot are nothing. The name is as it was found: quote it before showing it.
	Anything(ctx context.Context) (name string, err error)
}

// MaxSmall is the size of the largest object that [Writer.PutIfAbsent] takes and [ReadSmall] returns, in bytes.
const MaxSmall = 16 << 20

// An Info is what a store knows of an object.
type Info struct {
	Name     string
	Size     int64     // bytes
	Modified time.Time // by the clock of the store; to the second
}

// Versioned is implemented by the readers of a store that can tell the states of an object apart, so that who opens it once more can go on reading.
type Versioned interface {
	// Version returns the same for readers of the same state of an object, and something else for those of another; "" if that is not known.
	Version() string
}

// VersionOf returns the version of what r reads, "" if that is not known. It is for wrappers, whose readers pass it on.
func VersionOf(r io.Reader) string {
	if v, ok := r.(Versioned); ok {
		return v.Version()
	}
	return ""
}

// ReadSmall returns a whole object. [ErrSize] if it has more than limit bytes, which is at most [MaxSmall]; then at most that many were read.
func ReadSmall(ctx context.Context, s Reader, name string, limit int64) ([]byte, error) {
	limit = min(limit, MaxSmall)
	r, err := s.Open(ctx, name, 0, limit+1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, tooLarge("read", name, limit)
	}
	return data, nil
}
