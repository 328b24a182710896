package doctor

import (
	"os"

	"golang.org/x/sys/unix"

	"ordinal/agent"
	"ordinal/internal/trust"
)

// secret is what can be said of the cluster secret's file, and root's password. It is never printed.
type secret struct {
	err   error // why the secret cannot be used
	mode  os.FileMode
	tmpfs bool // as a mounted Secret is

	root     bool // a password of MySQL's root was given
	rootErr  error
	password string
}

func lookAtSecret(cfg agent.Config) (secret, error) {
	var s secret
	if s.root = cfg.RootPassword != nil; s.root {
		s.password, s.rootErr = cfg.RootPassword()
	}
	if cfg.SecretFile == "" {
		s.err = errNoSecret
		return s, nil
	}
	if info, err := os.Stat(cfg.SecretFile); err == nil {
		s.mode = info.Mode()
	}
	var fs unix.Statfs_t
	s.tmpfs = unix.Statfs(cfg.SecretFile, &fs) == nil && fs.Type == unix.TMPFS_MAGIC
	_, s.err = trust.LoadSecret(cfg.SecretFile)
	return s, nil
}

// deriveRing makes the keys, which takes a moment of computing.
func deriveRing(s Surroundings, file seen[secret]) (*trust.Ring, error) {
	switch {
	case !file.known():
		return nil, file.err
	case file.it.err != nil:
		return nil, file.it.err
	case s.Ring != nil:
		return s.Ring(s.Config.SecretFile)
	}
	return trust.LoadRing(s.Config.SecretFile)
}

// String keeps fmt away from what is in it.
func (s secret) String() string { return "[redacted]" }

// errNoSecret says so as agent run does.
var errNoSecret error = &agent.OptionError{Flag: "secret-file", Missing: true, Allowed: "the path of a file with the cluster secret"}
