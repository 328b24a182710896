package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"ordinal/backup"
	"ordinal/backup/store"
	"ordinal/mysqlx"
)

const (
	watermarkName_ = "ordinal binlog watermark"
	maxWatermark   = 4 << 20
	maxWatermarks  = 10_000 // that are read
)

// A watermark says that at a moment everything was archived, and what that was. It proves that a quiet time was quiet, and that nothing is missing at
// the end.
type watermark struct {
	Format  string         `json:"format"`
	Version int            `json:"version"`
	Cluster string         `json:"cluster_id"`
	Set     string         `json:"set"`
	Writer  string         `json:"writer"`
	At      time.Time      `json:"at"` // by the source's clock
	GTIDs   mysqlx.GTIDSet `json:"gtid_set"`
}

// sealedWatermark is its form in the store.
type sealedWatermark struct {
	Content json.RawMessage `json:"content"`
	Seal    backup.Seal     `json:"seal"`
}

func encodeWatermark(w watermark, keys backup.Keys) ([]byte, error) {
	w.Format, w.Version = watermarkName_, formatVersion
	content, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	seal, err := keys.Sign(sealWatermark, content)
	if err != nil {
		return nil, err
	}
	return json.Marshal(sealedWatermark{content, seal})
}

// decodeWatermark reads what encodeWatermark wrote. Errors: as decodeObject.
func decodeWatermark(b []byte, keys backup.Keys) (w watermark, err error) {
	var s sealedWatermark
	if err := json.Unmarshal(b, &s); err != nil {
		return w, fmt.Errorf("%w: it is no JSON", backup.ErrManifest)
	}
	if err := keys.CheckSeal(sealWatermark, s.Content, s.Seal); err != nil {
		return w, err
	}
	if err := json.Unmarshal(s.Content, &w); err != nil || w.Format != watermarkName_ {
		return w, fmt.Errorf("%w: it is no watermark", backup.ErrManifest)
	}
	if w.Version != formatVersion {
		return w, fmt.Errorf("%w: %d, known is %d", backup.ErrVersion, w.Version, formatVersion)
	}
	return w, nil
}

// watermark writes down up to when everything is archived, if that is known and has changed.
func (u *uploader) watermark(ctx context.Context) error {
	covered, archived := u.board.covered()
	if covered.seen.IsZero() || archived.IsEmpty() {
		return nil
	}
	b, err := encodeWatermark(watermark{Cluster: u.o.Cluster, Set: u.o.Set, Writer: u.writer, At: covered.at, GTIDs: archived}, u.o.Keys)
	if err != nil {
		return fmt.Errorf("write watermark: %w", err)
	}
	u.marked = time.Now()
	if err := u.store.Put(ctx, watermarkName(u.writer), int64(len(b)), bytes.NewReader(b)); err != nil {
		return fmt.Errorf("write watermark: %w", err)
	}
	if u.swept {
		return nil
	}
	u.swept = true
	return u.sweepWatermarks(ctx, covered.at, archived)
}

// sweepWatermarks removes those of earlier writers that ours says more than. A writer that is still there writes its own again.
func (u *uploader) sweepWatermarks(ctx context.Context, at time.Time, archived mysqlx.GTIDSet) error {
	all, err := loadWatermarks(ctx, u.store, u.o.Keys)
	if err != nil {
		return err
	}
	for _, w := range all {
		if w.Writer == u.writer || w.At.After(at) || !archived.Contains(w.GTIDs) {
			continue
		}
		if err := u.store.Delete(ctx, watermarkName(w.Writer)); err != nil {
			return fmt.Errorf("remove watermark: %w", err)
		}
	}
	return nil
}

// foundWatermark takes over what is known from the time before: a pod that begins to archive does not begin without an rpo.
func (u *uploader) foundWatermark(x *Index) {
	for _, w := range x.watermarks {
		u.board.mu.Lock()
		if u.board.samples.covered.at.Before(w.At) && x.Tip().Contains(w.GTIDs) {
			u.board.samples.covered = sample{set: w.GTIDs, at: w.At, seen: w.At}
		}
		u.board.mu.Unlock()
	}
}

// loadWatermarks returns all that can be read. One that is damaged is left out: it can only be missing as proof.
func loadWatermarks(ctx context.Context, r store.Reader, keys backup.Keys) (all []watermark, err error) {
	seen := 0
	for info, err := range r.List(ctx, watermarkPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list watermarks: %w", err)
		}
		if !watermarkForm.MatchString(info.Name) {
			continue
		}
		if seen++; seen > maxWatermarks {
			break
		}
		b, err := store.ReadSmall(ctx, r, info.Name, maxWatermark)
		switch {
		case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrSize):
			continue
		case err != nil:
			return nil, fmt.Errorf("read watermark: %w", err)
		}
		if w, err := decodeWatermark(b, keys); err == nil && watermarkName(w.Writer) == info.Name {
			all = append(all, w)
		}
	}
	return all, nil
}
