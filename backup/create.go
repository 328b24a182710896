package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"ordinal/backup/store"
	"ordinal/stream"
)

// A Taker takes the events of a copy as they come. Data may be called concurrently; no other method runs beside another one or beside Data, but File if it
// announces that a file is gone. After an error, and after the context of Create has ended, every call returns an error.
type Taker interface {
	// StageStart opens FILE_COPY, PAGE_COPY or REDO_COPY; the other stages are passed over. Files announced since the last StageEnd count from now on.
	StageStart(s stream.StageStart) error
	// File announces a file, or a change to one.
	File(meta stream.File) error
	// Data is content of a file, as it is there. data is not kept. It waits for as long as the store needs.
	Data(h stream.DataHeader, data []byte) error
	// StageEnd closes the stage. That it returns does not mean that all of the stage is in the store: a job that dies leaves nothing to go on with.
	StageEnd(stage stream.Stage) error
	// Interrupt says that an attempt has ended. Files announced since the last StageEnd are forgotten.
	Interrupt()
}

// Defaults of a Job.
const (
	DefaultSegmentBytes = 32 << 20
	DefaultUploads      = 2
	DefaultWorkers      = 4 // or as many as there are processors, if these are fewer
)

// A Job says what a backup is of, and how it is made. Memory is (workers + 1) × SegmentBytes for what waits to be packed, (workers + uploads) × the same for what
// waits to be stored, and about 30 MiB for each worker.
type Job struct {
	ID      string // see [NewID]
	Cluster string
	Set     string
	Created time.Time
	Hello   stream.Hello // of the donor's session
	Donor   Donor
	// SourceGTID and Lag are what was known of the source when the donor was chosen; "" and 0 if nothing.
	SourceGTID string
	Lag        time.Duration

	Keys Keys
	// SegmentBytes is about how large a segment is before compression; 0: DefaultSegmentBytes, or more if there would be too many of them.
	SegmentBytes int
	Workers      int // how many segments are packed at a time; 0: see DefaultWorkers
	Uploads      int // how many are stored at a time; 0: DefaultUploads
	// SizesOnly asks the store, before the manifest is written, only for names and sizes; else all of the backup is read once more.
	SizesOnly bool

	// Stored is called, concurrently, for every segment that has been stored, and Reread for what was read once more, with bytes. They may be nil.
	Stored, Reread func(n int64)
}

// Copied is what is known of a copy that has been taken whole.
type Copied struct {
	Files        int
	Bytes, Pages uint64
	// GTIDExecuted is what a server has that starts on the copy, exactly, and GTIDAtMost what the donor had after the copy had ended; "" if not known.
	GTIDExecuted, GTIDAtMost string
	// Attachments are stored beside the segments, by name, such as "checksums.json".
	Attachments map[string][]byte
}

// Create makes a backup: it calls copy with a Taker, stores what that takes, reads it once more, and writes the manifest. copy returns when the copy was taken
// whole; its context ends when the store fails. The store should try again what fails for a moment (store.Retry); every segment is given to it
// from memory, as an io.Seeker.
//
// When Create returns nil, the backup's manifest and everything it names are in the store, and were read from there. After an error there is no
// manifest, and what was stored is removed again as far as the store lets it; what is left of it is no backup for anybody.
func Create(ctx context.Context, to store.Store, job Job, copy func(ctx context.Context, to Taker) (Copied, error)) (*Manifest, error) {
	if err := job.complete(); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	m, began, err := job.run(ctx, to, copy)
	if err == nil {
		return m, nil
	}
	err = fmt.Errorf("backup %s: %w", job.ID, err)
	if left := job.discard(ctx, to, began); left != nil {
		err = fmt.Errorf("%w (what was stored is left there: %v)", err, left)
	}
	return nil, err
}

// progress is how far a job has come, for those who clean up.
type progress struct {
	segments   int // of which something may be in the store
	names      []string
	manifested bool // the manifest may be in the store
	foreign    bool // a manifest is in the store that is not ours
}

func (j *Job) run(ctx context.Context, to store.Store, copy func(ctx context.Context, to Taker) (Copied, error)) (*Manifest, progress, error) {
	var began progress
	packer, err := NewPacker(j.Keys, j.Workers)
	if err != nil {
		return nil, began, err
	}
	defer packer.Close()
	p := newPipeline(j, packer, to)
	copied, err := p.run(ctx, copy)
	began.segments = p.segmenter.index
	if err != nil {
		return nil, began, err
	}
	m := j.manifest(packer, p, copied)
	for name, content := range copied.Attachments {
		a := Attachment{Name: name, Size: int64(len(content)), Digest: Digest(content)}
		if err := a.check(); err != nil {
			return nil, began, err
		}
		began.names = append(began.names, name)
		if err := to.Put(ctx, Dir(j.ID)+name, a.Size, bytes.NewReader(content)); err != nil {
			return nil, began, fmt.Errorf("store %s: %w", name, err)
		}
		m.Attachments = append(m.Attachments, a)
	}
	if err := checkStored(ctx, to, m, !j.SizesOnly, j.Uploads, j.Reread); err != nil {
		return nil, began, fmt.Errorf("look at what was stored: %w", err)
	}
	m.Finished = time.Now().UTC().Truncate(time.Second)
	data, err := m.encode(j.Keys)
	if err != nil {
		return nil, began, err
	}
	began.manifested = true
	if err := to.PutIfAbsent(ctx, ManifestName(j.ID), data); err != nil {
		began.foreign = errors.Is(err, store.ErrExists)
		return nil, began, fmt.Errorf("store the manifest: %w", err)
	}
	read, err := store.ReadSmall(ctx, to, ManifestName(j.ID), MaxManifest)
	if err == nil && !bytes.Equal(read, data) {
		err = errors.New("it is not what was written")
	}
	if err != nil {
		return nil, began, fmt.Errorf("read the manifest once more: %w", err)
	}
	return m, began, nil
}

func (j *Job) manifest(packer *Packer, p *pipeline, c Copied) *Manifest {
	h := j.Hello
	m := &Manifest{
		Format: Format, Version: Version, ID: j.ID, Cluster: j.Cluster, Set: j.Set, Created: j.Created.UTC().Truncate(time.Second),
		Donor: j.Donor, ServerVersion: h.ServerVersion, PageSize: h.PageSize,
		GTIDExecuted: c.GTIDExecuted, GTIDAtLeast: h.GTIDExecuted, GTIDAtMost: c.GTIDAtMost, SourceGTID: j.SourceGTID, LagSeconds: j.Lag.Seconds(),
		Files: c.Files, Bytes: c.Bytes, Pages: c.Pages, Compression: CompressionZstd, Encryption: packer.Encryption(), Segments: p.segments,
	}
	for _, s := range m.Segments {
		m.RawBytes += uint64(s.Raw)
		m.StoredBytes += uint64(s.Size)
	}
	return m
}

// discardWithin is how long cleaning up may take.
const discardWithin = 30 * time.Second

// discard removes what a job has stored that came to nothing. The manifest goes first: without it, and only then, the rest is nothing.
func (j *Job) discard(ctx context.Context, to store.Store, began progress) error {
	if began.foreign {
		return errors.New("another job has the same id")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardWithin)
	defer cancel()
	if began.manifested {
		if err := to.Delete(ctx, ManifestName(j.ID)); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for index := 1; index <= began.segments && ctx.Err() == nil; index++ {
		g.Go(func() error { return to.Delete(ctx, SegmentName(j.ID, index)) })
	}
	for _, name := range began.names {
		g.Go(func() error { return to.Delete(ctx, Dir(j.ID)+name) })
	}
	return g.Wait()
}
