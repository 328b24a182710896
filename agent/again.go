package agent

import (
	"path/filepath"

	"ordinal/internal/volume"
)

// isServed reports whether agent init would find nothing to do on a volume that it cannot lock: the data is complete, nobody asked for other data, and
// mysqld's configuration is in place. It changes nothing. Whoever has the lock may change the volume meanwhile; he is an agent too.
func (s self) isServed() bool {
	content, err := volume.Inspect(s.cfg.Volume)
	if err != nil || content.Kind != volume.Complete {
		return false
	}
	same, err := s.serverConfig(filepath.Join(s.cfg.Volume, "current"), true).isWritten(s.cfg.MySQLConfigDir)
	return same && err == nil
}
