package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"ordinal/internal/testing/localset"
)

// wipeSource takes the source's volume away after a crash. With semi-synchronous replication nobody is waited for.
func (s *soak) wipeSource(ctx context.Context) error {
	if err := s.pauseIfAsync(ctx); err != nil {
		return err
	}
	defer s.traffic.start()
	s.set.Kill9(0, localset.Mysqld) // what it has sent to nobody is lost with it
	return until(ctx, func() error { return s.set.DeleteVolume(ctx, 0) })
}

// rollBack puts an older copy in the place of the source's volume.
func (s *soak) rollBack(ctx context.Context) error {
	copied := filepath.Join(s.dir, "rolled-back")
	defer os.RemoveAll(copied)
	err := until(ctx, func() error {
		return s.set.Change(ctx, 0, func(volume string) error { return exec.Command("cp", "-a", volume, copied).Run() })
	})
	if err != nil {
		return err
	}
	s.traffic.more(ctx, 100)
	if err := s.pauseIfAsync(ctx); err != nil {
		return err
	}
	defer s.traffic.start()
	s.set.Kill9(0, localset.Mysqld)
	return until(ctx, func() error {
		return s.set.Change(ctx, 0, func(volume string) error {
			if err := os.RemoveAll(volume); err != nil {
				return err
			}
			return os.Rename(copied, volume)
		})
	})
}

// pauseIfAsync stops writing until replicas have everything, where only that makes sure that nothing acknowledged is lost.
func (s *soak) pauseIfAsync(ctx context.Context) error {
	if s.options.durability == "semisync" {
		return nil
	}
	s.traffic.stop()
	err := s.set.WaitConverged(ctx)
	if err != nil {
		s.traffic.start()
	}
	return err
}

// scale takes two Pods away for a while, one of three; every other time the binlogs that they will want are purged meanwhile.
func (s *soak) scale(ctx context.Context, f fault) error {
	few := max(s.options.pods-2, 2)
	if err := s.set.Scale(ctx, few); err != nil {
		return err
	}
	s.traffic.more(ctx, 50)
	rest(ctx, f.For)
	var err error
	if f.Dice%2 == 0 {
		err = s.purge(ctx, 0)
	}
	if err := s.set.Scale(ctx, s.options.pods); err != nil {
		return err
	}
	return err
}

// duplicateUUID gives a Pod the auto.cnf of another one, as somebody does who copies a volume.
func (s *soak) duplicateUUID(ctx context.Context, f fault) error {
	other, err := os.ReadFile(filepath.Join(s.set.Pod(f.Other).Volume, "current", "auto.cnf"))
	if err != nil {
		return fmt.Errorf("%w: %w", errMissed, err)
	}
	return until(ctx, func() error {
		return s.set.Change(ctx, f.Pod, func(volume string) error {
			return os.WriteFile(filepath.Join(volume, "current", "auto.cnf"), other, 0o640)
		})
	})
}
