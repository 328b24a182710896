// Package debian gets programs for tests out of Debian's packages, without installing them.
package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"ordinal/internal/testing/command"
)

// Suite is the one that has MySQL; the stable suites have MariaDB only.
const Suite = "sid"

// Unpack lets apt-get fetch packages with all that they depend on, and check their signatures, and unpacks them into the folder root. All state of
// apt-get's is in the folder work, which is the caller's to remove; this machine's own packages are not touched.
func Unpack(ctx context.Context, work, root string, packages []string) error {
	if err := fetch(ctx, work, packages); err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(work, "cache/archives/*.deb"))
	if err != nil {
		return err
	}
	if len(archives) == 0 {
		return fmt.Errorf("apt-get left no packages in %s", work)
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	// The links /bin, /lib and so on come with base-files: first, or a folder is in their way.
	slices.SortStableFunc(archives, func(a, b string) int { return isBase(b) - isBase(a) })
	for _, archive := range archives {
		if err := command.Run(ctx, exec.Command("dpkg", "-x", archive, root)); err != nil {
			return err
		}
	}
	return nil
}

func isBase(archive string) int {
	if strings.HasPrefix(filepath.Base(archive), "base-files_") {
		return 1
	}
	return 0
}

func fetch(ctx context.Context, work string, packages []string) error {
	for _, dir := range []string{"lists/partial", "cache/archives/partial", "sources"} {
		if err := os.MkdirAll(filepath.Join(work, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(work, "status"), nil, 0o644); err != nil {
		return err
	}
	install := append([]string{"--yes", "--no-install-recommends", "--download-only", "install"}, packages...)
	failure := errors.New("this machine has no Debian sources in /etc/apt: add them")
	for _, m := range mirrors(os.DirFS("/")) {
		if err := os.WriteFile(filepath.Join(work, "sources/debian.sources"), []byte(m.deb822(Suite)), 0o644); err != nil {
			return err
		}
		if failure = aptGet(ctx, work, "update"); failure != nil {
			continue // such as a mirror of the stable suites only
		}
		if failure = aptGet(ctx, work, install...); failure == nil {
			return nil
		}
	}
	return failure
}

func aptGet(ctx context.Context, work string, args ...string) error {
	options := []string{
		"Dir::State::Lists=" + filepath.Join(work, "lists"),
		// Nothing counts as installed: every dependency comes along. Not /dev/null: apt makes its lock files beside this one.
		"Dir::State::status=" + filepath.Join(work, "status"),
		"Dir::Cache=" + filepath.Join(work, "cache"),
		"Dir::Etc::sourcelist=/dev/null",
		"Dir::Etc::sourceparts=" + filepath.Join(work, "sources"),
		"Dir::Etc::preferences=/dev/null",
		"Dir::Etc::preferencesparts=/dev/null",
		"Acquire::Languages=none",
		"Acquire::Retries=3",
		"APT::Update::Error-Mode=any", // a failed index is otherwise only a warning
		"Binary::apt-get::APT::Keep-Downloaded-Packages=true",
	}
	if os.Geteuid() == 0 {
		options = append(options, "APT::Sandbox::User=root") // the user _apt may not look into our folder
	}
	var argv []string
	for _, o := range options {
		argv = append(argv, "-o", o)
	}
	return command.Run(ctx, exec.Command("apt-get", append(argv, args...)...))
}
