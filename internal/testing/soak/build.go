package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ordinal/internal/testing/localset"
)

//go:embed testdata/jump.go
var jumpSource []byte

// nowReads is the line of time.Now behind which the jump is added.
const nowReads = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"

// buildAgent builds the agent with a clock that can be moved: with the standard library's package time replaced by a copy that differs
// in one line and one file. Everything else is what is shipped. movable is false where that library does not look as expected: the
// agent is then built as it is.
func buildAgent(ctx context.Context, dir string) (path string, movable bool, err error) {
	path = filepath.Join(dir, "agent")
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", false, fmt.Errorf("go env GOROOT: %w", err)
	}
	library := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	source, err := os.ReadFile(filepath.Join(library, "time.go"))
	if err != nil {
		return "", false, err
	}
	changed := strings.Replace(string(source), nowReads, nowReads+"\tsec += jumped()\n", 1)
	if changed == string(source) {
		return path, false, localset.Build(ctx, path)
	}
	changedFile, jumpFile, overlayFile := filepath.Join(dir, "time.go.txt"), filepath.Join(dir, "jump.go.txt"), filepath.Join(dir, "overlay.json")
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(library, "time.go"): changedFile,
		filepath.Join(library, "jump.go"): jumpFile,
	}})
	if err != nil {
		return "", false, err
	}
	err = errors.Join(
		os.WriteFile(changedFile, []byte(changed), 0o644),
		os.WriteFile(jumpFile, jumpSource, 0o644),
		os.WriteFile(overlayFile, overlay, 0o644),
	)
	if err != nil {
		return "", false, err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", overlayFile, "-o", path, "ordinal/cmd/agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", false, fmt.Errorf("build the agent: %w: %s", err, bytes.TrimSpace(out))
	}
	return path, true, nil
}
