package doctor

import (
	"context"
	"errors"

	"ordinal/agent"
	"ordinal/backup/store"
)

// place is a store, as far as it can be seen without writing into it.
type place struct {
	asked  bool // there is one to look at
	err    error
	marker store.Marker
	empty  bool // nobody has claimed it yet
}

func lookAtStore(ctx context.Context, s Surroundings, url string) (place, error) {
	if url == "" {
		return place{}, nil
	}
	p := place{asked: true}
	opened, err := s.Open(url)
	if err != nil {
		p.err = err
		return p, nil
	}
	p.marker, p.err = store.ReadMarker(ctx, opened)
	if !errors.Is(p.err, store.ErrNotFound) {
		return p, nil
	}
	p.empty, p.err = true, nil
	for _, err := range opened.List(ctx, "", "") { // a place that may not be listed is of no use
		p.err = err
		break
	}
	return p, nil
}

func lookAtRestore(ctx context.Context, s Surroundings) (place, error) {
	if s.Config.Backups.RestoreFrom == "" {
		return place{}, nil
	}
	point, err := agent.ParseRestorePoint(s.Config.Backups.RestoreFrom)
	if err != nil {
		return place{asked: true, err: err}, nil
	}
	return lookAtStore(ctx, s, point.Store)
}

// lookAtKeys reads the files with which backups are encrypted and decrypted.
func lookAtKeys(cfg agent.Config) error {
	if cfg.Backups.Keys == nil || cfg.Backups.Store == "" && cfg.Backups.RestoreFrom == "" {
		return errNotAsked
	}
	_, err := cfg.Backups.Keys()
	return err
}
