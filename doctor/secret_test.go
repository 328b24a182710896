package doctor

import (
	"errors"
	"os"
	"testing"

	"ordinal/agent"
	"ordinal/mysqlx"
)

func TestSecret(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		make func(t *testing.T, cfg *agent.Config)
		want []string
		id   string
		says []string
	}{
		"not given": {
			make: func(_ *testing.T, cfg *agent.Config) { cfg.SecretFile = "" },
			want: []string{"secret"}, id: "secret", says: []string{"--secret-file is not given", "AGENT_SECRET_FILE"},
		},
		"not there": {
			make: func(t *testing.T, cfg *agent.Config) { must(t, os.Remove(cfg.SecretFile)) },
			want: []string{"secret"}, id: "secret", says: []string{"no such file", "head -c 32 /dev/urandom | base64"},
		},
		"empty":          {make: content(""), want: []string{"secret"}, id: "secret", says: []string{"too short"}},
		"a newline only": {make: content("\n"), want: []string{"secret"}},
		"short":          {make: content("changeme\n"), want: []string{"secret"}, id: "secret", says: []string{"at least 32"}},
		"a directory": {
			make: func(t *testing.T, cfg *agent.Config) { cfg.SecretFile = t.TempDir() },
			want: []string{"secret"},
		},
		"for everybody": {
			make: func(t *testing.T, cfg *agent.Config) { must(t, os.Chmod(cfg.SecretFile, 0o644)) },
			want: []string{"secret-mode"}, id: "secret-mode", says: []string{"0644", "chmod 0400"},
		},
		"root's password is not there": {
			make: func(_ *testing.T, cfg *agent.Config) {
				cfg.RootPassword = func() (string, error) { _, err := os.ReadFile("/nonexistent/root-password"); return "", err }
			},
			want: []string{"root-password"}, id: "root-password", says: []string{"no such file", "AGENT_ROOT_PASSWORD_FILE"},
		},
		"root's password was written on another system": {
			make: func(_ *testing.T, cfg *agent.Config) { cfg.RootPassword = mysqlx.FixedPassword("planted\r") },
			want: []string{"root-password"}, id: "root-password", says: []string{"carriage return"},
		},
		"the backups' keys are not there": {
			make: func(t *testing.T, cfg *agent.Config) {
				cfg.Backups.Store, cfg.Backups.Keys = directory(t), noKeys
			},
			want: []string{"backup-keys"}, id: "backup-keys", says: []string{"passphrase"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := lone(t)
			test.make(t, &cfg)
			r := Examine(t.Context(), Surroundings{Ring: cachedRing, Config: cfg, Resolver: noNames, Open: openStore})
			wants(t, r, test.want...)
			if test.id != "" {
				says(t, r, test.id, test.says...)
			}
		})
	}
}

func content(text string) func(t *testing.T, cfg *agent.Config) {
	return func(t *testing.T, cfg *agent.Config) {
		must(t, os.Chmod(cfg.SecretFile, 0o600), os.WriteFile(cfg.SecretFile, []byte(text), 0o600))
	}
}

var errPassphrase = errors.New("read the passphrase: open /run/secrets/passphrase: no such file or directory")
