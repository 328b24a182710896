package mysqld

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ordinal/mysqlx"
)

// usualPlaces are where packages put the server. PATH often lacks them, and an image without a shell has none.
var usualPlaces = []string{
	"/usr/sbin/mysqld",
	"/usr/libexec/mysqld",
	"/usr/local/sbin/mysqld",
	"/usr/local/mysql/bin/mysqld",
	"/opt/mysql/bin/mysqld",
	"/usr/bin/mysqld",
}

// A Program is a mysqld that runs on this machine.
type Program struct {
	Path    string // absolute
	Version string // as the server says it, such as 9.7.4-2; one that is supported
}

// Find returns the server at path, or, if path is empty, the one in PATH or in one of the usual places, after it has said its version. Errors:
// [*NotFoundError], [*mysqlx.UnsupportedError], [*UnusableError] if it cannot be run.
func Find(ctx context.Context, path string) (Program, error) {
	path, err := find(path)
	if err != nil {
		return Program{}, err
	}
	return inspect(ctx, path)
}

func find(path string) (string, error) {
	if path != "" {
		path, err := filepath.Abs(path)
		if err != nil {
			return "", &UnusableError{Path: path, Err: err}
		}
		if err := executable(path); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return "", &NotFoundError{Tried: []string{path}}
			}
			return "", &UnusableError{Path: path, Err: err}
		}
		return path, nil
	}
	if path, err := exec.LookPath("mysqld"); err == nil && filepath.IsAbs(path) {
		return path, nil
	}
	for _, path := range usualPlaces {
		if executable(path) == nil {
			return path, nil
		}
	}
	return "", &NotFoundError{Tried: append([]string{"PATH"}, usualPlaces...)}
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Mode()&0o111 == 0) {
		err = errors.New("it is not a program")
	}
	return err
}

// inspectTimeout is for a program that says its version and ends, on a busy machine with cold disks.
const inspectTimeout = time.Minute

// inspect asks for the version, which also proves that the program and its libraries are of this machine.
func inspect(ctx context.Context, path string) (Program, error) {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	said := newTail(maxTail)
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, path, "--no-defaults", "--version")
	cmd.Env = environment
	cmd.Stdout, cmd.Stderr = &limited{&out, maxTail}, said
	cmd.WaitDelay = waitDelay
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return Program{}, &UnusableError{Path: path, Err: err, Log: said.lines()}
	}
	// "…/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))"
	line, _, _ := strings.Cut(strings.TrimSpace(out.String()), "\n")
	_, after, ok := strings.Cut(line, "Ver ")
	version, _, _ := strings.Cut(after, " ")
	if !ok || version == "" {
		return Program{}, &UnusableError{Path: path, Err: fmt.Errorf("unknown answer to --version: %.200q", line)}
	}
	if err := mysqlx.CheckSupported(version, line); err != nil {
		return Program{}, fmt.Errorf("%s: %w", path, err)
	}
	return Program{Path: path, Version: version}, nil
}
