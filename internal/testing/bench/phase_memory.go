package main

import (
	"context"
	"fmt"
)

// measureMemory clones larger and larger data in each way, and looks at the memory of both ends.
func (s *site) measureMemory(ctx context.Context, f *found) error {
	for _, size := range s.memory {
		if err := s.clear(ctx); err != nil {
			return err
		}
		if err := s.fill(ctx, int64(size)); err != nil {
			return err
		}
		for _, w := range s.ways {
			if err := s.clear(ctx); err != nil {
				return err
			}
			run, err := s.cloneByAgent(ctx, w)
			if err != nil {
				return fmt.Errorf("%s: %w", w.Name, err)
			}
			run.Bytes = s.files.bytes
			s.say("%.1f GB, %s: donor's sidecar %d MiB, recipient %d MiB, %.0f MB/s", float64(run.Bytes)/1e9, w.Name, run.SidecarHWM>>20,
				run.RecipientHWM>>20, run.rate())
			f.Memory = append(f.Memory, watched{w.Name, run})
		}
	}
	return s.clear(ctx)
}
