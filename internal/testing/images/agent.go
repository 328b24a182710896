package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ordinal/internal/testing/command"
)

// Agent returns the reference of this project's image, made from the working tree: the last stage of its Dockerfile, word for word, around
// a binary that this machine's Go has built as the stages before it would. That they would is what TestDockerfile is for; here it would
// cost minutes of compiling for each change.
func Agent(ctx context.Context) (ref string, err error) {
	tree, err := root(ctx)
	if err != nil {
		return "", err
	}
	binary, err := buildAgent(ctx, tree, "", "")
	if err != nil {
		return "", err
	}
	stage, err := lastStage(tree)
	if err != nil {
		return "", err
	}
	base, err := packaged(ctx, "debian")
	if err != nil {
		return "", err
	}
	ref = tag("agent", base, stage, binary)
	text := "FROM " + base + " AS build\nLABEL " + stageLabel + "=" + ref + "\nCOPY agent /agent\nRUN mkdir /empty\n\n" + stage
	return ref, once(ctx, ref, func() (err error) {
		defer func() { err = errors.Join(err, removeStages(ctx, ref)) }()
		var stream bytes.Buffer
		if err := writeFiles(&stream, []file{{"Dockerfile", 0o644, []byte(text)}, {"agent", 0o755, binary}}); err != nil {
			return err
		}
		if _, err := dockerWith(ctx, &stream, "build", "--tag", ref, "-"); err != nil {
			return fmt.Errorf("build %s: %w", ref, err)
		}
		return nil
	})
}

// buildAgent does with this machine's Go what the Dockerfile does with its own. An empty arch is this machine's.
func buildAgent(ctx context.Context, tree, arch, version string) ([]byte, error) {
	if version == "" {
		version = "dev" // the Dockerfile's default
	}
	return buildStatic(ctx, tree, arch, ldflags(version), "./cmd/agent")
}

// buildStatic returns a program that needs nothing but a kernel.
func buildStatic(ctx context.Context, tree, arch, ldflags, program string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "images")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "program")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", path, program)
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if err := command.Run(ctx, cmd); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// ldflags are those of the Dockerfile.
func ldflags(version string) string { return "-s -w -buildid= -X main.version=" + version }

// lastStage returns the Dockerfile from its last FROM on.
func lastStage(tree string) (string, error) {
	b, err := os.ReadFile(filepath.Join(tree, "Dockerfile"))
	if err != nil {
		return "", err
	}
	text := string(b)
	at := strings.LastIndex(text, "\nFROM ")
	if at < 0 {
		return "", fmt.Errorf("no second stage in %s", filepath.Join(tree, "Dockerfile"))
	}
	return text[at+1:], nil
}

// root returns the folder of this module.
func root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
