package images

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// repository is the part of all tags that says whose images they are.
const repository = "ordinal-test"

// Need skips the test where there is no Docker Engine. In CI it fails instead where there should be one: DOCKER_HOST names it, or its
// socket is there, and it does not answer.
func Need(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := available(ctx)
	switch {
	case err == nil:
	case os.Getenv("CI") == "true" && expected():
		t.Fatalf("a Docker Engine is here and does not answer: %v", err)
	default:
		t.Skipf("needs a Docker Engine: %v", err)
	}
}

func available(ctx context.Context) error {
	if _, err := exec.LookPath("docker"); err != nil {
		return err
	}
	_, err := Docker(ctx, "version", "--format", "{{.Server.Version}}")
	return err
}

// expected says whether somebody has prepared this machine for containers. A program alone, as packages bring it, does not count.
func expected() bool {
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = "unix:///var/run/docker.sock"
	}
	u, err := url.Parse(host)
	if err != nil || u.Scheme != "unix" {
		return true // somebody has named it
	}
	_, err = os.Stat(u.Path)
	return err == nil
}

// Docker runs the docker program and returns what it prints, without white space at the ends. An error has what it said.
func Docker(ctx context.Context, args ...string) (string, error) {
	return dockerWith(ctx, nil, args...)
}

// dockerWith is Docker with something to read.
func dockerWith(ctx context.Context, in io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.WaitDelay = 5 * time.Second
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &said
	err := cmd.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("docker %s: %w\n%s", args[0], err, end(strings.TrimSpace(out.String()+"\n"+said.String()), 3000))
	}
	return strings.TrimSpace(out.String()), nil
}

// has says whether there is such an image.
func has(ctx context.Context, ref string) (bool, error) {
	id, err := Docker(ctx, "image", "ls", "--quiet", ref)
	return id != "", err
}

// stageLabel is on the images of stages that came before the last one, with the name of what they were for.
const stageLabel = repository + ".stage"

// removeStages removes what the builder before BuildKit leaves of the stages that came before the last one.
func removeStages(ctx context.Context, of string) error {
	ctx = context.WithoutCancel(ctx)
	ids, err := Docker(ctx, "image", "ls", "--quiet", "--no-trunc", "--filter", "dangling=true", "--filter", "label="+stageLabel+"="+of)
	if err == nil && ids != "" {
		_, err = Docker(ctx, append([]string{"image", "rm"}, strings.Fields(ids)...)...)
	}
	return err
}

// end returns the last bytes of a text.
func end(text string, n int) string {
	if len(text) > n {
		return "…" + text[len(text)-n:]
	}
	return text
}

// once makes the image unless it is there, while no other process does.
func once(ctx context.Context, ref string, build func() error) error {
	if there, err := has(ctx, ref); err != nil || there {
		return err
	}
	unlock, err := lock(ctx, ref)
	if err != nil {
		return err
	}
	defer unlock()
	if there, err := has(ctx, ref); err != nil || there {
		return err // made while we waited
	}
	return build()
}
