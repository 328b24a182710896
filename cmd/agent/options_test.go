package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"ordinal/agent"
	"ordinal/backup"
	"ordinal/backup/store"
	"ordinal/internal/volume"
)

// parse merges args and env into settings.
func parse(t *testing.T, env map[string]string, args ...string) (*settings, error) {
	t.Helper()
	cmd := &cobra.Command{Use: "x"}
	s := addOptions(cmd, cmdInit)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	from, err := s.complete(cmd.Flags(), func(name string) string { return env[name] })
	if err != nil {
		return nil, err
	}
	return s, from.name(s.Validate())
}

func TestPrecedence(t *testing.T) {
	base := []string{"--secret-file=/s"}
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		want func(*settings) bool
	}{
		{"default", map[string]string{"POD_NAME": "m-1"}, nil, func(s *settings) bool { return s.MaxLag == 30*time.Second && s.Ordinal == -1 }},
		{"environment over default", map[string]string{"POD_NAME": "m-1", "AGENT_MAX_LAG": "7s"}, nil, func(s *settings) bool { return s.MaxLag == 7*time.Second }},
		{"flag over environment", map[string]string{"POD_NAME": "m-1", "AGENT_MAX_LAG": "7s"}, []string{"--max-lag=9s"}, func(s *settings) bool { return s.MaxLag == 9*time.Second }},
		{"flag equal to the default over environment", map[string]string{"POD_NAME": "m-1", "AGENT_MAX_LAG": "7s"}, []string{"--max-lag=30s"}, func(s *settings) bool { return s.MaxLag == 30*time.Second }},
		{"empty is unset", map[string]string{"POD_NAME": "m-1", "AGENT_POD_NAME": "", "AGENT_MAX_LAG": ""}, nil, func(s *settings) bool { return s.PodName == "m-1" && s.MaxLag == 30*time.Second }},
		{"our name over the common one", map[string]string{"POD_NAME": "m-1", "AGENT_POD_NAME": "m-2", "HOSTNAME": "m-3"}, nil, func(s *settings) bool { return s.PodName == "m-2" }},
		{"host name last", map[string]string{"HOSTNAME": "m-3"}, nil, func(s *settings) bool { return s.PodName == "m-3" }},
		{"booleans", map[string]string{"POD_NAME": "m-1", "AGENT_ADOPT": "true"}, nil, func(s *settings) bool { return s.Adopt }},
		{"ordinal 0", map[string]string{"POD_NAME": "db", "AGENT_ORDINAL": "0"}, nil, func(s *settings) bool { id, err := s.Identity(); return err == nil && id.Pod == "db-0" }},
	} {
		s, err := parse(t, tt.env, append(base, tt.args...)...)
		if err != nil || !tt.want(s) {
			t.Errorf("%s: settings = %+v, %v", tt.name, s, err)
		}
	}
}

func TestValuesFromTheEnvironmentAreNamed(t *testing.T) {
	for variable, value := range map[string]string{
		"AGENT_REPLICAS": "many", "AGENT_MAX_LAG": "1", "AGENT_ADOPT": "maybe", // do not parse
		"AGENT_MAX_RATE": "fast", "AGENT_DONOR_PATIENCE": "-1s", "AGENT_DONOR_LATENCY_LIMIT": "1h0m0s", // range in words
		"AGENT_COPY": "sendfile", "AGENT_COMPRESS": "yes", "AGENT_CLONE_STREAMS": "17",
		"AGENT_DATA_PORT": "70000", "AGENT_VOLUME": "here", "AGENT_PEER_HOST": "x", // out of range
	} {
		_, err := parse(t, map[string]string{"POD_NAME": "m-1", variable: value}, "--secret-file=/s")
		var bad *agent.OptionError
		if !errors.As(err, &bad) || !strings.HasPrefix(err.Error(), fmt.Sprintf("%s=%q: must be ", variable, value)) || bad.ExitCode() != agent.ExitUsage {
			t.Errorf("%s=%s: error = %v", variable, value, err)
		}
	}
}

// A container's id is no set's name, although an ordinal is known from elsewhere.
func TestHostNameWithOrdinal(t *testing.T) {
	_, err := parse(t, map[string]string{"HOSTNAME": "4f1d2a", "AGENT_ORDINAL": "1"}, "--secret-file=/s")
	var bad *agent.PodNameError
	if !errors.As(err, &bad) || bad.Pod != "" {
		t.Errorf("error = %v, want one about a missing pod name", err)
	}
}

func TestRootPassword(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("from file\n")
	pod := func(more ...string) map[string]string {
		env := map[string]string{"POD_NAME": "m-1"}
		for i := 0; i < len(more); i += 2 {
			env[more[i]] = more[i+1]
		}
		return env
	}
	for _, tt := range []struct {
		env  map[string]string
		args []string
		want string
	}{
		{pod("MYSQL_ROOT_PASSWORD", "from env"), nil, "from env"},
		{pod("MYSQL_ROOT_PASSWORD_FILE", file), nil, "from file"},
		{pod("AGENT_ROOT_PASSWORD_FILE", file, "MYSQL_ROOT_PASSWORD", "from env"), nil, "from file"},
		{pod("MYSQL_ROOT_PASSWORD", "from env"), []string{"--root-password-file", file}, "from file"},
	} {
		s, err := parse(t, tt.env, append(tt.args, "--secret-file=/s")...)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.RootPassword(); got != tt.want || err != nil {
			t.Errorf("%v: RootPassword() = %q, %v, want %q", tt.env, got, err, tt.want)
		}
	}
	if s, err := parse(t, pod(), "--secret-file=/s"); err != nil || s.RootPassword != nil {
		t.Errorf("without a password: RootPassword is set, or %v", err)
	}
	if _, err := parse(t, pod("MYSQL_ROOT_PASSWORD", "x", "MYSQL_ROOT_PASSWORD_FILE", file), "--secret-file=/s"); exitCode(err) != agent.ExitUsage {
		t.Errorf("both: error = %v", err)
	}

	// A rotated file is read again.
	s, _ := parse(t, pod("MYSQL_ROOT_PASSWORD_FILE", file), "--secret-file=/s")
	write("new")
	if got, _ := s.RootPassword(); got != "new" {
		t.Errorf("RootPassword() after rotation = %q", got)
	}
	os.Remove(file)
	if _, err := s.RootPassword(); exitCode(err) != agent.ExitConfig || hintOf(err) == "" {
		t.Errorf("RootPassword() without its file: %v", err)
	}
	write(strings.Repeat("x", maxPasswordFile+1))
	if _, err := s.RootPassword(); err == nil || strings.Contains(err.Error(), "xx") {
		t.Errorf("RootPassword() of a huge file: %v", err)
	}
	// The settings never show it.
	s, _ = parse(t, pod("MYSQL_ROOT_PASSWORD", "hunter2"), "--secret-file=/s")
	if text := fmt.Sprintf("%v %+v %#v", s, s, s.Config); strings.Contains(text, "hunter2") {
		t.Errorf("settings print the password: %s", text)
	}
}

type hinted struct{ error }

func (hinted) Hint() string  { return "do this" }
func (hinted) ExitCode() int { return 80 }

func TestExitCodeAndHint(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
		hint string
	}{
		{nil, 0, ""},
		{errors.New("x"), 1, ""},
		{fmt.Errorf("a: %w", hinted{errors.New("x")}), 80, "do this"},
		{errors.Join(errors.New("x"), fmt.Errorf("b: %w", hinted{errors.New("y")})), 80, "do this"},
		{&fs.PathError{Op: "open", Path: "/x", Err: syscall.EACCES}, 77, ""},
		{&fs.PathError{Op: "open", Path: "/x", Err: syscall.EROFS}, 77, ""},
		{&fs.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}, 73, ""},
		{&fs.PathError{Op: "fsync", Path: "/x", Err: syscall.EIO}, 74, ""},
		{&store.Error{Op: "put", Kind: store.ErrNoSpace}, 73, "make room: `agent backups prune`, a larger volume, or a larger quota"},
		{fmt.Errorf("x: %w", &store.Error{Op: "list", Kind: store.ErrUnavailable, Remedy: "look there"}), 69, "look there"},
		{&store.Error{Op: "put", Kind: store.ErrPermission}, 77, ""},
		{&store.Error{Op: "put", Name: "/nowhere", Kind: store.ErrNoPlace}, 78, ""},
		{&store.Error{Op: "put", Err: errors.New("tls: unknown certificate authority"), Remedy: "give ca-file"}, 78, "give ca-file"},
		{&store.Error{Op: "put", Err: errors.New("the server says Strange")}, 74, ""},
		{&store.ForeignError{Reason: "of somebody else", Remedy: "take another"}, 80, "take another"},
		{&backup.DamageError{Kind: backup.ErrMissing, Err: &store.Error{Op: "open", Kind: store.ErrNotFound}}, 82, (&backup.DamageError{Kind: backup.ErrMissing}).Hint()},
		{&backup.WrongKeyError{What: "decryption", Remedy: "give the key"}, 84, "give the key"},
		{fmt.Errorf("open: %w", volume.ErrLocked), 75, ""},
		{fmt.Errorf("open: %w", volume.ErrNotWritable), 77, ""},
		{fmt.Errorf("open: %w", volume.ErrDamaged), 65, ""},
		{&terminatedError{"it was done", "run it again", context.Canceled}, 143, "run it again"},
	} {
		if code, hint := exitCode(tt.err), hintOf(tt.err); tt.err != nil && (code != tt.code || hint != tt.hint) {
			t.Errorf("%v: exit code %d, hint %q, want %d, %q", tt.err, code, hint, tt.code, tt.hint)
		}
		var out strings.Builder
		if code := report(&out, tt.err); code != tt.code {
			t.Errorf("report(%v) = %d, want %d", tt.err, code, tt.code)
		}
		if lines := strings.Count(out.String(), "\n"); tt.err != nil && (lines > 2 || lines < 1) {
			t.Errorf("report(%v) printed %q", tt.err, out.String())
		}
	}
}

func TestEndBySignal(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	cancelled := fmt.Errorf("wait for donor: %w", context.Canceled)
	for _, tt := range []struct {
		ctx  context.Context
		err  error
		init int
		run  int
	}{
		{context.Background(), nil, 0, 0},
		{context.Background(), errors.New("x"), 1, 1},
		{ended, nil, 0, 0}, // it was done all the same
		{ended, cancelled, 143, 0},
		{ended, errors.New("connection reset"), 143, 1},
		{ended, hinted{errors.New("refused")}, 80, 80},
		{context.Background(), cancelled, 1, 1},
	} {
		if got := exitCode0(endOfInit(tt.ctx, tt.err)); got != tt.init {
			t.Errorf("init with %v (ctx %v) exits %d, want %d", tt.err, tt.ctx.Err(), got, tt.init)
		}
		if got := exitCode0(endOfRun(tt.ctx, tt.err)); got != tt.run {
			t.Errorf("run with %v (ctx %v) exits %d, want %d", tt.err, tt.ctx.Err(), got, tt.run)
		}
	}
}

func exitCode0(err error) int {
	if err == nil {
		return 0
	}
	return exitCode(err)
}

func TestLogger(t *testing.T) {
	var out strings.Builder
	log, err := newLogger(&out, "warn", "auto") // no terminal
	if err != nil {
		t.Fatal(err)
	}
	log.Info("quiet")
	for range 300 {
		log.Warn("loud")
	}
	if lines := strings.Count(out.String(), "\n"); lines != 300 || !strings.HasPrefix(out.String(), `{"level":"warn","time":"20`) {
		t.Errorf("%d lines, the first %.80q", lines, out.String())
	}
	for _, bad := range [][2]string{{"loud", "auto"}, {"fatal", "auto"}, {"info", "xml"}} {
		if _, err := newLogger(&out, bad[0], bad[1]); exitCode(err) != agent.ExitUsage {
			t.Errorf("newLogger(%v) error = %v", bad, err)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"replica", "replicas", 1}, {"voulme", "volume", 2}, {"kitten", "sitting", 3}} {
		if got := editDistance(tt.a, tt.b); got != tt.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
