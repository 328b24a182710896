package agent

import (
	"errors"
	"strings"
	"testing"
)

func TestParseIdentity(t *testing.T) {
	for _, tt := range []struct {
		pod            string
		ordinal, first int
		want           Identity
		role           Role
	}{
		{"mysql-0", -1, 0, Identity{"mysql-0", "mysql", 0, 0}, RoleSource},
		{"mysql-2", -1, 0, Identity{"mysql-2", "mysql", 2, 0}, RoleReplica},
		{"my-db-10", -1, 0, Identity{"my-db-10", "my-db", 10, 0}, RoleReplica},
		{"mysql-5", -1, 5, Identity{"mysql-5", "mysql", 5, 5}, RoleSource},
		{"mysql-6", -1, 5, Identity{"mysql-6", "mysql", 6, 5}, RoleReplica},
		// What siblings call the pod follows the ordinal, not what the machine is called.
		{"mysql-7", 2, 0, Identity{"mysql-2", "mysql", 2, 0}, RoleReplica},
		{"db", 1, 0, Identity{"db-1", "db", 1, 0}, RoleReplica},
		{"a-1-2", -1, 0, Identity{"a-1-2", "a-1", 2, 0}, RoleReplica},
	} {
		got, err := ParseIdentity(tt.pod, tt.ordinal, tt.first)
		if err != nil || got != tt.want {
			t.Errorf("ParseIdentity(%q, %d, %d) = %+v, %v, want %+v", tt.pod, tt.ordinal, tt.first, got, err, tt.want)
		}
		if got.Role() != tt.role {
			t.Errorf("%s: Role() = %s, want %s", tt.pod, got.Role(), tt.role)
		}
	}
	id, _ := ParseIdentity("mysql-2", -1, 0)
	if got := id.ServerID(100); got != 102 {
		t.Errorf("ServerID(100) = %d, want 102", got)
	}
	if got := id.PodName(11); got != "mysql-11" {
		t.Errorf("PodName(11) = %q", got)
	}
}

func TestParseIdentityRefuses(t *testing.T) {
	for _, tt := range []struct {
		pod            string
		ordinal, first int
		why            string
	}{
		{"", -1, 0, "empty"},
		{"", 2, 0, "empty"},
		{"mysql", -1, 0, "does not end in -N"},
		{"mysql-", -1, 0, "does not end in -N"},
		{"-3", -1, 0, "does not end in -N"},
		{"mysql-x", -1, 0, "does not end in -N"},
		{"mysql-1a", -1, 0, "does not end in -N"},
		{"mysql-٣", -1, 0, "does not end in -N"}, // a digit to Unicode, not to a StatefulSet
		{"mysql-01", -1, 0, "starts with 0"},
		{"mysql-1000000", -1, 0, "above"},
		{"mysql-99999999999999999999", -1, 0, "above"},
		{"mysql-1", -1, 3, "below the first ordinal 3"},
		{"my/sql-1", -1, 0, "contains"},
		{"my\nsql-1", -1, 0, "contains"},
		{strings.Repeat("a", 300) + "-1", -1, 0, "longer"},
	} {
		_, err := ParseIdentity(tt.pod, tt.ordinal, tt.first)
		var bad *PodNameError
		if !errors.As(err, &bad) {
			t.Errorf("ParseIdentity(%q) error = %v, want a *PodNameError", tt.pod, err)
			continue
		}
		if !strings.Contains(err.Error(), tt.why) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 300 {
			t.Errorf("ParseIdentity(%q) error = %q, want one line with %q", tt.pod, err, tt.why)
		}
		if bad.Hint() == "" || bad.ExitCode() != ExitConfig {
			t.Errorf("ParseIdentity(%q): hint %q, exit code %d", tt.pod, bad.Hint(), bad.ExitCode())
		}
	}
}

func TestConfigValidate(t *testing.T) {
	good := func() Config {
		c := DefaultConfig()
		c.PodName, c.Service, c.SecretFile = "mysql-1", "mysql", "/secret"
		return c
	}
	if err := good().Validate(); err != nil {
		t.Fatalf("Validate() = %v", err)
	}
	for _, tt := range []struct {
		flag   string
		change func(*Config)
	}{
		{"ordinal", func(c *Config) { c.Ordinal = -2 }},
		{"first-ordinal", func(c *Config) { c.FirstOrdinal = -1 }},
		{"replicas", func(c *Config) { c.Replicas = MaxReplicas + 1 }},
		{"server-id-base", func(c *Config) { c.ServerIDBase = 0 }},
		{"mysql-port", func(c *Config) { c.MySQLPort = 0 }},
		{"data-port", func(c *Config) { c.DataPort = 65536 }},
		{"status-port", func(c *Config) { c.StatusPort = -1 }},
		{"clone-workers", func(c *Config) { c.CloneWorkers = 17 }},
		{"max-lag", func(c *Config) { c.MaxLag = 0 }},
		{"discovery-window", func(c *Config) { c.DiscoveryWindow = -1 }},
		{"data-listen", func(c *Config) { c.DataListen = "3307" }},
		{"status-listen", func(c *Config) { c.StatusListen = ":http-alt" }},
		{"volume", func(c *Config) { c.Volume = "data" }},
		{"volume", func(c *Config) { c.Volume = "/" }},
		{"mysql-config-dir", func(c *Config) { c.MySQLConfigDir = "" }},
		{"mysql-address", func(c *Config) { c.MySQLAddress = "mysqld.sock" }},
		{"mysql-address", func(c *Config) { c.MySQLAddress = ":3306" }},
		{"peer-host", func(c *Config) { c.PeerHost = "mysql" }},
		{"service", func(c *Config) { c.Service = "my sql" }},
		{"secret-file", func(c *Config) { c.SecretFile = "" }},
	} {
		c := good()
		tt.change(&c)
		var bad *OptionError
		if err := c.Validate(); !errors.As(err, &bad) || bad.Flag != tt.flag || !strings.Contains(err.Error(), "--"+tt.flag) {
			t.Errorf("Validate() = %v, want an error about --%s", err, tt.flag)
		}
	}
}
