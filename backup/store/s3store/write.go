package s3store

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"ordinal/backup/store"
)

const (
	// uploadID is the metadata by which an upload knows its object again.
	uploadID = "Ordinal-Upload"
	crcKey   = "X-Amz-Checksum-Crc32c"
	// cleanUpTime is how long to take for the removal of what is not wanted any more, after ctx has ended too.
	cleanUpTime = 15 * time.Second
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sums are the checksums of one body, as headers have them; empty where none is sent.
type sums struct{ crc, md5, sha256 string }

func (s *Store) sums(body []byte) (out sums) {
	switch s.checksum {
	case ChecksumCRC32C:
		out.crc = base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, castagnoli)))
	case ChecksumMD5:
		sum := md5.Sum(body)
		out.md5 = base64.StdEncoding.EncodeToString(sum[:])
	}
	if !s.secure { // the signature is all that keeps the body
		sum := sha256.Sum256(body)
		out.sha256 = hex.EncodeToString(sum[:])
	}
	return out
}

// Put implements [store.Writer]. It holds Parallel parts in memory at most, and less for an object that is known to be smaller.
func (s *Store) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	if err := store.CheckName(name); err != nil {
		return err
	}
	if size > maxParts*maxPartSize {
		return &store.Error{Op: "put", Name: name, Kind: store.ErrSize, Err: errors.New("S3 takes no object of more than 48 TiB")}
	}
	u := &upload{store: s, name: name, id: rand.Text(), partSize: s.partSize}
	if size > maxParts*u.partSize {
		u.partSize = (size + maxParts - 1) / maxParts
	}
	if err := u.run(ctx, size, store.Exact(ctx, r, size)); err != nil {
		return s.error(ctx, "put", name, err)
	}
	return s.error(ctx, "put", name, u.verify(ctx))
}

// An upload is one Put.
type upload struct {
	store    *Store
	name     string
	id       string // ours, by chance
	partSize int64
	sent     int64 // bytes
}

func (u *upload) key() string { return u.store.prefix + u.name }

func (u *upload) options() minio.PutObjectOptions {
	return minio.PutObjectOptions{DisableContentSha256: true, UserMetadata: map[string]string{uploadID: u.id}}
}

func (u *upload) run(ctx context.Context, size int64, r io.Reader) error {
	buffer, release := u.buffer(size)
	n, err := io.ReadFull(r, *buffer)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		defer release()
		u.sent = int64(n)
		return u.single(ctx, (*buffer)[:n])
	}
	if err != nil {
		release()
		return err
	}
	return u.multipart(ctx, r, buffer, release)
}

// buffer returns memory for a part, and what to call when it is not needed any more.
func (u *upload) buffer(size int64) (*[]byte, func()) {
	if size >= 0 && size < u.partSize {
		return new(make([]byte, size+1)), func() {} // one more, to come to the end of what is read
	}
	if u.partSize != u.store.partSize {
		return new(make([]byte, u.partSize)), func() {}
	}
	b := u.store.buffers.Get().(*[]byte)
	return b, func() { u.store.buffers.Put(b) }
}

// single sends an object that fits into one request. It is still in memory, so that it can be sent again.
func (u *upload) single(ctx context.Context, body []byte) error {
	sums := u.store.sums(body)
	return u.store.patience.Do(ctx, func() error {
		return u.store.error(ctx, "put", u.name, u.store.putObject(ctx, u.key(), body, sums, u.options()))
	})
}

func (s *Store) putObject(ctx context.Context, key string, body []byte, sums sums, o minio.PutObjectOptions) error {
	if sums.crc != "" {
		o.UserMetadata[crcKey] = sums.crc
	}
	info, err := s.core.PutObject(ctx, s.bucket, key, bytes.NewReader(body), int64(len(body)), sums.md5, sums.sha256, o)
	if err != nil {
		return err
	}
	return checkSum(info.ChecksumCRC32C, sums)
}

// checkSum compares what a server says that it got, if it says so.
func checkSum(got string, want sums) error {
	if got != "" && want.crc != "" && got != want.crc {
		return &store.Error{Op: "put", Kind: store.ErrUnavailable, Err: errors.New("the server has another checksum than what was sent")}
	}
	return nil
}

// multipart sends an object part by part, the first of which is in a buffer.
func (u *upload) multipart(ctx context.Context, r io.Reader, first *[]byte, release func()) (err error) {
	s := u.store
	var server string // the server's id of it
	err = s.patience.Do(ctx, func() error {
		o := u.options()
		if s.checksum == ChecksumCRC32C {
			o.UserMetadata["X-Amz-Checksum-Algorithm"] = "CRC32C"
		}
		server, err = s.core.NewMultipartUpload(ctx, s.bucket, u.key(), o)
		return s.error(ctx, "put", u.name, err)
	})
	if err != nil {
		release()
		return err
	}
	complete := false
	defer func() {
		if !complete {
			u.abort(ctx, server)
		}
	}()
	parts, err := u.sendParts(ctx, server, r, first, release)
	if err != nil {
		return err
	}
	lost := false // an answer, so that it may be done already
	err = s.patience.Do(ctx, func() error {
		_, err := s.core.CompleteMultipartUpload(ctx, s.bucket, u.key(), server, parts, minio.PutObjectOptions{})
		if lost && code(err) == codeNoSuchUpload {
			if u.verify(ctx) == nil {
				return nil
			}
		}
		err = s.error(ctx, "put", u.name, err)
		lost = lost || errors.Is(err, store.ErrUnavailable)
		return err
	})
	complete = err == nil
	return err
}

// sendParts sends all parts, the first of which is in buffer, and returns them in order after all its goroutines have ended.
func (u *upload) sendParts(ctx context.Context, server string, r io.Reader, buffer *[]byte, release func()) ([]minio.CompletePart, error) {
	g, sending := errgroup.WithContext(ctx)
	slots := make(chan struct{}, u.store.parallel) // one for each part in memory, being read or sent
	slots <- struct{}{}
	var parts []*minio.CompletePart
	var readErr error
	for n, last := len(*buffer), false; n > 0; {
		part, body, sent := new(minio.CompletePart), (*buffer)[:n], release
		parts = append(parts, part)
		number := len(parts)
		u.sent += int64(n)
		g.Go(func() (err error) {
			defer func() {
				sent()
				<-slots
			}()
			*part, err = u.sendPart(sending, server, number, body)
			return err
		})
		if last {
			break
		}
		select {
		case slots <- struct{}{}:
		case <-sending.Done():
		}
		if sending.Err() != nil {
			break
		}
		buffer, release = u.buffer(-1)
		n, readErr = io.ReadFull(r, *buffer)
		switch {
		case readErr == io.EOF || readErr == io.ErrUnexpectedEOF:
			readErr, last = nil, true
		case readErr == nil && number == maxParts:
			readErr = &store.Error{Op: "put", Name: u.name, Kind: store.ErrSize,
				Err: fmt.Errorf("of unknown size, and larger than %d parts of %d bytes", maxParts, u.partSize), Remedy: "say its size beforehand, or use larger parts"}
		}
		if readErr != nil || n == 0 {
			release()
			break
		}
	}
	if err := errors.Join(g.Wait(), readErr); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	out := make([]minio.CompletePart, len(parts))
	for i, part := range parts {
		out[i] = *part
	}
	return out, nil
}

func (u *upload) sendPart(ctx context.Context, server string, number int, body []byte) (done minio.CompletePart, err error) {
	s := u.store
	sums := s.sums(body)
	err = s.patience.Do(ctx, func() error {
		o := minio.PutObjectPartOptions{Md5Base64: sums.md5, Sha256Hex: sums.sha256, DisableContentSha256: true}
		if sums.crc != "" {
			o.CustomHeader = http.Header{crcKey: {sums.crc}}
		}
		part, err := s.core.PutObjectPart(ctx, s.bucket, u.key(), server, number, bytes.NewReader(body), int64(len(body)), o)
		if err != nil {
			return s.error(ctx, "put", u.name, err)
		}
		done = minio.CompletePart{PartNumber: number, ETag: part.ETag, ChecksumCRC32C: part.ChecksumCRC32C}
		return checkSum(part.ChecksumCRC32C, sums)
	})
	return done, err
}

// abort gives up a multipart upload, so that its parts do not cost for ever. What cannot be aborted now is for Sweep.
func (u *upload) abort(ctx context.Context, server string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
	defer cancel()
	_ = u.store.core.AbortMultipartUpload(ctx, u.store.bucket, u.key(), server)
}

// verify looks at the object once more. One that is ours and not what was sent is removed; one that is not ours was put by somebody else since.
func (u *upload) verify(ctx context.Context) error {
	var info minio.ObjectInfo
	err := u.store.patience.Do(ctx, func() (err error) {
		info, err = u.store.head(ctx, u.name)
		return u.store.error(ctx, "put", u.name, err)
	})
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			err = &store.Error{Op: "put", Name: u.name, Kind: store.ErrUnavailable, Err: errors.New("the server took it and does not have it")}
		}
		return err
	}
	id := metadata(info, uploadID)
	if id != "" && id != u.id || info.Size == u.sent {
		return nil
	}
	if id == u.id {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
		defer cancel()
		_ = u.store.Delete(ctx, u.name)
	}
	return &store.Error{Op: "put", Name: u.name, Kind: store.ErrSize, Err: fmt.Errorf("the server has %d bytes of it, %d were sent", info.Size, u.sent),
		Remedy: "the server does not store what it gets; behind plain HTTP try endpoint=https://…"}
}

func metadata(info minio.ObjectInfo, key string) string {
	for k, v := range info.UserMetadata {
		if strings.EqualFold(k, key) {
			return v
		}
	}
	return ""
}

// PutIfAbsent implements [store.Writer].
func (s *Store) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	if err := store.CheckName(name); err != nil {
		return err
	}
	if err := store.CheckSmall(name, data); err != nil {
		return err
	}
	exists := &store.Error{Op: "put", Name: name, Kind: store.ErrExists}
	// For servers that ignore the condition: what is there for longer than a moment is found.
	switch _, err := s.Stat(ctx, name); {
	case err == nil:
		return exists
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	u := &upload{store: s, name: name, id: rand.Text(), sent: int64(len(data))}
	o := u.options()
	o.SetMatchETagExcept("*")
	err := s.putObject(ctx, u.key(), data, s.sums(data), o)
	if code(err) == codeNotThere { // it does not ignore the condition, it refuses it
		err = s.putObject(ctx, u.key(), data, s.sums(data), u.options())
	}
	if err != nil {
		return s.error(ctx, "put", name, err)
	}
	same, err := s.same(ctx, name, data)
	if err != nil {
		return err
	}
	if same {
		return nil
	}
	if info, err := s.head(ctx, name); err == nil && metadata(info, uploadID) == u.id {
		return &store.Error{Op: "put", Name: name, Err: errors.New("the server does not return what it was sent")}
	}
	return exists // and was written over ours
}
