package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"ordinal/backup"
	"ordinal/backup/catalog"
	"ordinal/backup/store"
)

// A depot is a store with backups of a set, opened.
type depot struct {
	store.Store
	url    string // as it can be shown
	keys   backup.Keys
	marker store.Marker
}

// openDepot opens the store that --store names, and finds out whose backups are there.
func (s *settings) openDepot(ctx context.Context, from origins, sur *surroundings, patience store.Patience, ignoreSeal bool) (*depot, error) {
	keys, err := s.storeKeys(from, ignoreSeal)
	if err != nil {
		return nil, err
	}
	opened, url, err := s.openStore(from, sur, patience)
	if err != nil {
		return nil, err
	}
	marker, err := store.ReadMarker(ctx, opened)
	if errors.Is(err, store.ErrNotFound) {
		return nil, &notFoundError{text: "no set keeps its backups in " + url, hint: "check --store; the first agent backup takes an empty place for its set"}
	}
	return &depot{opened, url, keys, marker}, err
}

// place is what is in the depot, for the catalog.
func (d *depot) place() catalog.Place {
	return catalog.Place{Store: d.Store, Cluster: d.marker.Cluster, Set: d.marker.Set, Keys: d.keys}
}

// find returns the backup that is meant, which can be restored as far as the catalog knows. note tells a person what was passed over for it.
func (d *depot) find(ctx context.Context, selector catalog.Selector, note func(string)) (*backup.Manifest, error) {
	all, err := d.place().List(ctx)
	if err != nil {
		return nil, err
	}
	entry, passedOver, err := catalog.Find(all, selector)
	if err != nil {
		return nil, orWrongKey(all, err)
	}
	for _, e := range passedOver {
		note(fmt.Sprintf("backup %s has failed its last verification and is passed over", e.ID))
	}
	return backup.Open(ctx, d.Store, entry.ID, d.keys)
}

// orWrongKey says why no backup was found, if that may be for want of the secret that they were sealed under.
func orWrongKey(all []catalog.Entry, err error) error {
	var none *catalog.NoMatchError
	if !errors.As(err, &none) || none.Oldest != nil || none.Failed > 0 {
		return err
	}
	for _, e := range slices.Backward(all) {
		if e.State == catalog.WrongKey {
			return e.Err
		}
	}
	return err
}

// checkKeys finds out, before anything is touched, whether our keys open a backup: its first segment is read for that, if it is encrypted. Whatever else is wrong
// is for who reads all of it.
func (d *depot) checkKeys(ctx context.Context, m *backup.Manifest) error {
	if m.Encryption == nil || len(m.Segments) == 0 {
		return nil
	}
	err := func() error {
		p, err := backup.OpenPacker(m.Encryption, d.keys, 1)
		if err != nil {
			return err
		}
		defer p.Close()
		first := m.Segments[0]
		in, err := d.Open(ctx, backup.SegmentName(m.ID, first.Index), 0, first.Size)
		if err != nil {
			return err
		}
		defer in.Close()
		stored, err := io.ReadAll(in)
		if err == nil {
			_, err = p.Unpack(nil, stored, first.Raw)
		}
		return err
	}()
	var wrong *backup.WrongKeyError
	if errors.As(err, &wrong) {
		wrong.Backup = "backup " + m.ID
		return wrong
	}
	return nil
}

// oneBackup wants at most one backup.
func oneBackup(cmd *cobra.Command, args []string) error {
	if len(args) <= 1 {
		return nil
	}
	return &usageError{text: "at most one backup can be named", hint: "see agent backups list", command: cmd.CommandPath()}
}

// selectorOf reads the backup that args name.
func selectorOf(args []string) (catalog.Selector, error) {
	text := ""
	if len(args) > 0 {
		text = args[0]
	}
	selector, err := catalog.ParseSelector(text)
	if err != nil {
		return selector, &usageError{
			text: fmt.Sprintf("BACKUP=%q: must be an id, @latest or @TIME", clean(text, 100)),
			hint: "see agent backups list; a time is like @2026-11-21T12:00:00Z",
		}
	}
	return selector, nil
}

// addIgnoreSeal adds the flag for those who have lost the cluster's secret.
func addIgnoreSeal(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("ignore-seal", false, "take what was sealed under a cluster secret that is lost: whoever could write to the store may have changed it")
}
