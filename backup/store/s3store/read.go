package s3store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"ordinal/backup/store"
)

// Stat implements [store.Reader].
func (s *Store) Stat(ctx context.Context, name string) (store.Info, error) {
	if err := store.CheckName(name); err != nil {
		return store.Info{}, err
	}
	info, err := s.head(ctx, name)
	if err != nil {
		return store.Info{}, s.error(ctx, "stat", name, err)
	}
	return store.Info{Name: name, Size: info.Size, Modified: info.LastModified}, nil
}

func (s *Store) head(ctx context.Context, name string) (minio.ObjectInfo, error) {
	info, err := s.core.StatObject(ctx, s.bucket, s.prefix+name, minio.StatObjectOptions{})
	var answer minio.ErrorResponse
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		// The answer to a HEAD has no body: it does not say what was not found. Whoever may not ask for the bucket is believed that it is there.
		if ok, bucketErr := s.core.BucketExists(ctx, s.bucket); bucketErr == nil && !ok {
			answer.Code = codeNoSuchBucket
			return info, answer
		}
	}
	return info, err
}

// Open implements [store.Reader].
func (s *Store) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := store.CheckName(name); err != nil {
		return nil, err
	}
	offset = max(offset, 0)
	if length == 0 { // there is no range for nothing
		if _, err := s.head(ctx, name); err != nil {
			return nil, s.error(ctx, "open", name, err)
		}
		return http.NoBody, nil
	}
	var o minio.GetObjectOptions
	ranged := offset > 0 || length > 0
	if ranged {
		var last int64 // the library's word for "to the end"
		if length > 0 {
			last = offset + length - 1
			if last < offset {
				return nil, &store.Error{Op: "open", Name: name, Err: errors.New("the range overflows")}
			}
		}
		if err := o.SetRange(offset, last); err != nil {
			return nil, s.error(ctx, "open", name, err)
		}
	}
	body, info, header, err := s.core.GetObject(ctx, s.bucket, s.prefix+name, o)
	if err != nil {
		if code(err) == "InvalidRange" { // past the end, or of an empty object
			return http.NoBody, nil
		}
		return nil, s.error(ctx, "open", name, err)
	}
	if got := header.Get("Content-Range"); ranged && !strings.HasPrefix(got, fmt.Sprintf("bytes %d-", offset)) || !ranged && got != "" {
		body.Close()
		return nil, &store.Error{Op: "open", Name: name, Err: errors.New("the server answered with another range than it was asked for")}
	}
	if info.Size < 0 || length >= 0 && info.Size > length {
		body.Close()
		return nil, &store.Error{Op: "open", Name: name, Err: errors.New("the server answered without a length, or with too great a one")}
	}
	return &reader{store: s, ctx: ctx, name: name, body: body, left: info.Size, version: info.ETag}, nil
}

type reader struct {
	store *Store
	ctx   context.Context // of the Open, for its cause
	name  string
	body  io.ReadCloser
	left  int64
	err   error

	version string // the ETag
}

// Version implements [store.Versioned].
func (r *reader) Version() string { return r.version }

func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.ctx.Err() != nil { // what has arrived already would still come out of the body
		r.err = r.store.error(r.ctx, "read", r.name, r.ctx.Err())
		return 0, r.err
	}
	n, err := r.body.Read(p)
	r.left -= int64(n)
	switch {
	case err == nil:
	case err != io.EOF || r.left > 0:
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		err = r.store.error(r.ctx, "read", r.name, err)
		var e *store.Error
		if errors.As(err, &e) && e.Kind == nil && r.ctx.Err() == nil {
			e.Kind = store.ErrUnavailable // whatever broke the answer in its middle, another one may come whole
		}
	}
	r.err = err
	return n, err
}

func (r *reader) Close() error {
	_ = r.body.Close() // what was not read does not matter
	return nil
}

// List implements [store.Reader].
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		if !store.CanBegin(prefix) {
			return
		}
		last := after
		fail := func(err error) { yield(store.Info{}, s.error(ctx, "list", "", err)) }
		for found, err := range s.keys(ctx, prefix, after) {
			name, ours := strings.CutPrefix(found.Key, s.prefix)
			switch {
			case err != nil:
				fail(err)
				return
			case !ours || !strings.HasPrefix(name, prefix):
				fail(errors.New("the server lists what it was not asked for"))
				return
			case name <= last: // some servers do not know what comes after; none may go round in circles
				if name <= after {
					continue
				}
				fail(errors.New("the server lists out of order"))
				return
			}
			last = name
			if store.CheckName(name) != nil {
				continue
			}
			if !yield(store.Info{Name: name, Size: found.Size, Modified: found.LastModified}, nil) {
				return
			}
		}
		if ctx.Err() != nil {
			fail(ctx.Err())
		}
	}
}

// keys lists page by page. An error comes with its own element, which is the last.
func (s *Store) keys(ctx context.Context, prefix, after string) iter.Seq2[minio.ObjectInfo, error] {
	o := minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}
	if after != "" && store.CanBegin(after) { // else all is asked for, and left out here
		o.StartAfter = s.prefix + after
	}
	return func(yield func(minio.ObjectInfo, error) bool) {
		for info := range s.core.ListObjectsIter(ctx, s.bucket, o) {
			if !yield(info, info.Err) || info.Err != nil {
				return
			}
		}
	}
}

// Anything implements [store.Keeper].
func (s *Store) Anything(ctx context.Context) (string, error) {
	for info, err := range s.keys(ctx, "", "") {
		if err != nil {
			return "", s.error(ctx, "look into", "", err)
		}
		if name := strings.TrimPrefix(info.Key, s.prefix); name != "" { // the "folder" that a web console made
			return name, nil
		}
	}
	if ctx.Err() != nil {
		return "", s.error(ctx, "look into", "", ctx.Err())
	}
	return "", nil
}

// Delete implements [store.Writer].
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := store.CheckName(name); err != nil {
		return err
	}
	err := s.error(ctx, "delete", name, s.core.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{}))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// Sweep implements [store.Keeper]: it aborts multipart uploads. A server that cannot list them has nothing to sweep.
func (s *Store) Sweep(ctx context.Context, age time.Duration) (removed int, err error) {
	var keyMarker, idMarker string
	for {
		page, err := s.core.ListMultipartUploads(ctx, s.bucket, s.prefix, keyMarker, idMarker, "", 1000)
		if code(err) == codeNotThere || code(err) == "MethodNotAllowed" {
			return removed, nil
		}
		if err != nil {
			return removed, s.error(ctx, "sweep", "", err)
		}
		for _, upload := range page.Uploads {
			name, ours := strings.CutPrefix(upload.Key, s.prefix)
			if !ours || store.CheckName(name) != nil || time.Since(upload.Initiated) < age {
				continue
			}
			err := s.core.AbortMultipartUpload(ctx, s.bucket, upload.Key, upload.UploadID)
			if code(err) == codeNoSuchUpload {
				continue // it is complete by now, or somebody else was here
			}
			if err != nil {
				return removed, s.error(ctx, "sweep", "", err)
			}
			removed++
		}
		if !page.IsTruncated {
			return removed, nil
		}
		if page.NextKeyMarker < keyMarker || page.NextKeyMarker == keyMarker && page.NextUploadIDMarker == idMarker {
			return removed, s.error(ctx, "sweep", "", errors.New("the server lists the same uploads again and again"))
		}
		keyMarker, idMarker = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

// same says whether an object is exactly data.
func (s *Store) same(ctx context.Context, name string, data []byte) (bool, error) {
	there, err := store.ReadSmall(ctx, s, name, int64(len(data)))
	if errors.Is(err, store.ErrSize) {
		return false, nil
	}
	return err == nil && bytes.Equal(there, data), err
}
