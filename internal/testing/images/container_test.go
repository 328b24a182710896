package images

import (
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A container of the image under test; it goes with the test.
type container struct {
	t   *testing.T
	ctx context.Context
	id  string
}

// run starts a container. options are those of docker create, then follows the image, then the command.
func run(t *testing.T, options []string, command ...string) *container {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	args := append([]string{"create", "--label", repository}, options...)
	id, err := Docker(ctx, append(append(args, mysqlImage(t)), command...)...)
	must(t, err)
	c := &container{t, ctx, id}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(end(c.logs(), 4000))
		}
		if _, err := Docker(context.WithoutCancel(ctx), "rm", "--force", "--volumes", id); err != nil {
			t.Error(err)
		}
	})
	_, err = Docker(ctx, "start", id)
	must(t, err)
	return c
}

// logs is all that the container has printed.
func (c *container) logs() string {
	out, err := exec.CommandContext(context.WithoutCancel(c.ctx), "docker", "logs", c.id).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// wait returns the exit code.
func (c *container) wait() string {
	c.t.Helper()
	code, err := Docker(c.ctx, "wait", c.id)
	must(c.t, err)
	return code
}

// waitServing waits until mysqld says that it listens on its port for the nth time.
func (c *container) waitServing(n int) {
	c.t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		count := 0
		for line := range strings.Lines(c.logs()) {
			if strings.Contains(line, "ready for connections") && strings.Contains(line, "port: 3306 ") {
				count++
			}
		}
		if count >= n {
			return
		}
		running, err := Docker(c.ctx, "inspect", "--format", "{{.State.Running}}", c.id)
		must(c.t, err)
		if running != "true" {
			c.t.Fatal("the container has ended")
		}
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			c.t.Fatal("mysqld does not get ready")
		}
	}
}

// sql is the answer to a query over TCP.
func (c *container) sql(user, password, query string) (string, error) {
	return Docker(c.ctx, "exec", "--env", "MYSQL_PWD="+password, c.id, "mysql", "--host=127.0.0.1", "--user="+user, "--skip-column-names", "--batch", "--execute="+query)
}

// must is sql that has to succeed.
func (c *container) must(user, password, query, want string) {
	c.t.Helper()
	got, err := c.sql(user, password, query)
	if err != nil || got != want {
		c.t.Errorf("%s: %s: %q, %v, want %q", user, query, got, err, want)
	}
}

// sh is what a shell in the container prints.
func (c *container) sh(script string) string {
	c.t.Helper()
	out, err := Docker(c.ctx, "exec", c.id, "sh", "-c", script)
	must(c.t, err)
	return out
}

// dir makes a folder that every user can read, with these files; a name that ends in ! is executable without it.
func dir(t *testing.T, files map[string]string) string {
	t.Helper()
	d := t.TempDir()
	must(t, os.Chmod(d, 0o755))
	for name, text := range files {
		name, executable := strings.CutSuffix(name, "!")
		path, mode := filepath.Join(d, name), os.FileMode(0o644)
		if executable {
			mode = 0o755
		}
		must(t, os.WriteFile(path, []byte(text), mode))
		must(t, os.Chmod(path, mode))
	}
	return d
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	must(t, err)
	must(t, w.Close())
	return b.String()
}
