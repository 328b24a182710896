package images

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// maxImage is what all layers of the image may have together, in bytes.
const maxImage = 20_000_000

// TestDockerfile runs the Dockerfile as it is, but for the name of the image that it begins with, for this machine's architecture. What is in the image is
// all that may be there, and its binary has the bytes that this machine's Go makes of a copy of the tree in another folder: neither place, nor
// cache, nor container makes a difference.
//
// The other architecture is TestOtherArchitecture's: a second build without a cache would cost minutes of a CPU and show nothing of the Dockerfile but that it hands
// TARGETARCH to Go.
func TestDockerfile(t *testing.T) {
	Need(t)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	tree, err := root(ctx)
	must(t, err)
	base, err := golang(ctx, tree)
	must(t, err)
	text, err := os.ReadFile(filepath.Join(tree, "Dockerfile"))
	must(t, err)
	const official = " golang:1.26 "
	if bytes.Count(text, []byte(official)) != 1 {
		t.Fatalf("the Dockerfile does not begin with%sonce", official)
	}
	dockerfile := filepath.Join(t.TempDir(), "Dockerfile")
	must(t, os.WriteFile(dockerfile, bytes.ReplaceAll(text, []byte(official), []byte(" "+base+" ")), 0o644))
	elsewhere := copyTree(ctx, t, tree) // before the build: who edits the tree meanwhile changes both or neither
	unlock, err := lock(ctx, "dockerfile")
	must(t, err)
	defer unlock()
	defer func() { must(t, removeStages(ctx, "dockerfile")) }()

	began := time.Now()
	ref := fmt.Sprintf("%s/dockerfile:%d", repository, os.Getpid())
	_, err = Docker(ctx, "build", "--file", dockerfile, "--tag", ref, "--force-rm", "--no-cache",
		"--build-arg", "TARGETOS=linux", "--build-arg", "TARGETARCH="+runtime.GOARCH,
		"--build-arg", "VERSION="+version, "--build-arg", "REVISION=abc", "--build-arg", "SOURCE=https://example.org/ordinal", tree)
	must(t, err)
	t.Logf("built in %.0f s", time.Since(began).Seconds())
	t.Cleanup(func() {
		if _, err := Docker(context.WithoutCancel(ctx), "image", "rm", ref); err != nil {
			t.Error(err)
		}
	})
	checkConfig(ctx, t, ref, map[string]string{
		"title": "ordinal-agent", "description": "Replicated MySQL from a plain StatefulSet: init container and sidecar",
		"version": version, "revision": "abc", "source": "https://example.org/ordinal",
	})
	binary := checkFiles(ctx, t, ref)
	mustBuildAlike(ctx, t, binary, elsewhere, runtime.GOARCH)
	checkStatic(t, binary, machines[runtime.GOARCH])
}

// TestOtherArchitecture builds the binary of the image for another machine than this one, with this machine's Go and the Dockerfile's own flags, in the tree
// and in a copy of it elsewhere. It needs no Docker, and the image itself is not made.
func TestOtherArchitecture(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	tree, err := root(ctx)
	must(t, err)
	mustPassFlags(t, tree)
	arch := "arm64"
	if runtime.GOARCH == arch {
		arch = "amd64"
	}
	elsewhere := copyTree(ctx, t, tree)
	binary, err := buildAgent(ctx, tree, arch, version)
	must(t, err)
	mustBuildAlike(ctx, t, binary, elsewhere, arch)
	checkStatic(t, binary, machines[arch])
}

const version = "v1.2.3"

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// mustBuildAlike builds the agent of a tree with this machine's Go and compares.
func mustBuildAlike(ctx context.Context, t *testing.T, binary []byte, tree, arch string) {
	t.Helper()
	here, err := buildAgent(ctx, tree, arch, version)
	must(t, err)
	if sha256.Sum256(binary) != sha256.Sum256(here) {
		t.Errorf("one binary has %d bytes, that of a copy of the tree %d, and they differ", len(binary), len(here))
	}
}

// mustPassFlags: buildAgent does what the Dockerfile says.
func mustPassFlags(t *testing.T, tree string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tree, "Dockerfile"))
	must(t, err)
	for _, want := range []string{
		"CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} ",
		`go build -trimpath -buildvcs=false -ldflags "` + ldflags("${VERSION}") + `" -o /agent ./cmd/agent `,
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the Dockerfile does not say %s", want)
		}
	}
}

// TestAgentImage looks at the image that other tests use: it is the Dockerfile's.
func TestAgentImage(t *testing.T) {
	Need(t)
	ref := agentImage(t)
	checkConfig(t.Context(), t, ref, map[string]string{
		"title": "ordinal-agent", "description": "Replicated MySQL from a plain StatefulSet: init container and sidecar",
		"version": "dev", "revision": "unknown", "source": "unknown",
	})
	checkFiles(t.Context(), t, ref)
	out, err := Docker(t.Context(), "run", "--rm", "--read-only", "--cap-drop=ALL", "--network=none", ref, "version")
	must(t, err)
	if !strings.HasPrefix(out, "agent dev (go1.") {
		t.Errorf("agent version: %s", out)
	}
}

func checkConfig(ctx context.Context, t *testing.T, ref string, labels map[string]string) {
	t.Helper()
	out, err := Docker(ctx, "image", "inspect", "--format", "{{json .}}", ref)
	must(t, err)
	var image struct {
		Size   int64
		Config struct {
			User         string
			Entrypoint   []string
			Cmd          []string
			ExposedPorts map[string]struct{}
			Volumes      map[string]struct{}
			Labels       map[string]string
		}
	}
	must(t, json.Unmarshal([]byte(out), &image))
	c := image.Config
	if c.User != "999:999" || !slices.Equal(c.Entrypoint, []string{"/agent"}) || len(c.Cmd) > 0 || len(c.Volumes) > 0 {
		t.Errorf("user %q, entry point %q, command %q, volumes %v", c.User, c.Entrypoint, c.Cmd, c.Volumes)
	}
	if _, ok := c.ExposedPorts["3307/tcp"]; !ok || len(c.ExposedPorts) != 2 {
		t.Errorf("ports %v, want 3307 and 8080", c.ExposedPorts)
	}
	for name, want := range labels {
		if got := c.Labels["org.opencontainers.image."+name]; got != want {
			t.Errorf("label %s = %q, want %q", name, got, want)
		}
	}
	if len(c.Labels) != len(labels) {
		t.Errorf("labels %v, want %v", c.Labels, labels)
	}
	if image.Size == 0 || image.Size >= maxImage {
		t.Errorf("the image has %d bytes, want less than %d", image.Size, maxImage)
	}
	t.Logf("%d bytes", image.Size)
}

// checkFiles compares what is in the image with all that may be there, and returns the program.
func checkFiles(ctx context.Context, t *testing.T, ref string) (binary []byte) {
	t.Helper()
	container, err := Docker(ctx, "create", ref)
	must(t, err)
	defer func() {
		_, err := Docker(context.WithoutCancel(ctx), "rm", "--volumes", container)
		must(t, err)
	}()
	path := filepath.Join(t.TempDir(), "tree.tar")
	_, err = Docker(ctx, "export", "--output", path, container)
	must(t, err)
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	var got []string
	for in := tar.NewReader(f); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		name := "/" + strings.Trim(h.Name, "/")
		if madeByDocker(name) {
			continue
		}
		got = append(got, fmt.Sprintf("%s %04o %d:%d", name, h.Mode&0o7777, h.Uid, h.Gid))
		if name == "/agent" {
			binary, err = io.ReadAll(in)
			must(t, err)
		}
	}
	slices.Sort(got)
	want := []string{
		"/agent 0755 0:0",
		"/backups 0755 999:999",
		"/etc 0755 0:0",
		"/etc/mysql 0755 0:0",
		"/etc/mysql/conf.d 0755 999:999",
		"/etc/ssl 0755 0:0",
		"/etc/ssl/certs 0755 0:0",
		"/etc/ssl/certs/ca-certificates.crt 0644 0:0",
		"/var 0755 0:0",
		"/var/lib 0755 0:0",
		"/var/lib/mysql 0755 999:999",
		"/var/run 0755 0:0",
		"/var/run/mysqld 0755 999:999",
	}
	if !slices.Equal(got, want) {
		t.Errorf("files:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return binary
}

// madeByDocker says whether Docker puts a name into every container.
func madeByDocker(name string) bool {
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if name == dir || strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return slices.Contains([]string{"/.dockerenv", "/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf"}, name)
}

func checkStatic(t *testing.T, binary []byte, machine elf.Machine) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(binary))
	must(t, err)
	defer f.Close()
	if f.Machine != machine {
		t.Errorf("machine %v, want %v", f.Machine, machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary is not static: it has a segment %v", p.Type)
		}
	}
	if len(binary) >= maxImage {
		t.Errorf("the binary has %d bytes, want less than %d", len(binary), maxImage)
	}
}

// copyTree copies what the build reads into another folder.
func copyTree(ctx context.Context, t *testing.T, tree string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-f", "{{if and .Module .Module.Main}}{{.Dir}}{{end}}", "./cmd/agent")
	cmd.Dir = tree
	out, err := cmd.Output()
	must(t, err)
	to := t.TempDir()
	dirs := strings.Fields(string(out))
	if len(dirs) < 10 {
		t.Fatalf("the agent is made of %d packages", len(dirs))
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(tree, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(to, name), b, 0o644))
	}
	for _, dir := range dirs {
		at, err := filepath.Rel(tree, dir)
		must(t, err)
		entries, err := os.ReadDir(dir)
		must(t, err)
		must(t, os.MkdirAll(filepath.Join(to, at), 0o755))
		for _, e := range entries {
			if !e.Type().IsRegular() {
				continue
			}
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(to, at, e.Name()), b, 0o644))
		}
	}
	return to
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
