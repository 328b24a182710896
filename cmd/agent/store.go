package main

import (
	"errors"
	"time"

	"ordinal/agent"
	"ordinal/backup"
	"ordinal/backup/store"
	"ordinal/backup/store/location"
)

// How long a store that is not available is waited for: by who has much to lose, and by who has somebody waiting for an answer.
var (
	longPatience  = store.Patience{}
	shortPatience = store.Patience{Total: 20 * time.Second}
)

// openStore returns the store that --store names, and the URL in a form that can be shown. The place itself is not looked at.
func (s *settings) openStore(from origins, sur *surroundings, patience store.Patience) (store.Store, string, error) {
	if s.Backups.Store == "" {
		return nil, "", &agent.OptionError{
			Flag: "store", Missing: true, Code: agent.ExitConfig, Allowed: allowed("store"),
			Remedy: "name it with --store or AGENT_STORE: file:///backups for a directory that is mounted there, s3://bucket/prefix?endpoint=… for S3",
		}
	}
	return openURL(s.Backups.Store, from.source("store"), sur, patience)
}

// openURL returns the store at a URL, which source gave, and the URL in a form that can be shown.
func openURL(url, source string, sur *surroundings, patience store.Patience) (store.Store, string, error) {
	where, err := location.Parse(url)
	if err != nil {
		return nil, "", &storeURLError{source, err, agent.ExitUsage}
	}
	opened, err := where.Open(location.Options{Getenv: sur.getenv, Patience: patience})
	var failed *store.Error
	if err != nil && !errors.As(err, &failed) {
		err = &storeURLError{source, err, agent.ExitConfig} // ca-file
	}
	return opened, where.String(), err
}

// prepareBackups hands what runs in pods the means to use a store, after it has checked what it was told of one. Keys are read again whenever they are
// needed: mounted secrets change in place.
func (s *settings) prepareBackups(from origins, sur *surroundings) error {
	s.Backups.Keys = func() (backup.Keys, error) { return s.contentKeys(from) }
	s.Backups.Open = func(url string) (store.Store, error) {
		option := "store"
		if url != s.Backups.Store {
			option = "restore-from"
		}
		opened, _, err := openURL(url, from.source(option), sur, longPatience)
		return opened, err
	}
	if s.Backups.RestoreFrom != "" {
		point, err := agent.ParseRestorePoint(s.Backups.RestoreFrom)
		if err != nil {
			return &storeURLError{from.source("restore-from"), err, agent.ExitUsage}
		}
		if _, _, err := openURL(point.Store, from.source("restore-from"), sur, longPatience); err != nil {
			return err
		}
	}
	if s.Backups.Store == "" {
		if s.Backups.RestoreFrom == "" {
			return nil
		}
		_, err := s.Backups.Keys()
		return err
	}
	if _, err := s.Backups.Open(s.Backups.Store); err != nil {
		return err
	}
	_, err := s.Backups.Keys()
	return err
}

// A storeURLError says what is wrong with the URL of a store, or with a file that it names. It repeats nothing that could be a secret.
type storeURLError struct {
	source string // the option, or its variable
	err    error
	code   int
}

func (e *storeURLError) Error() string { return e.source + ": " + e.err.Error() }
func (e *storeURLError) Unwrap() error { return e.err }
func (e *storeURLError) ExitCode() int { return e.code }
