package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// suite of Debian: the one that has MySQL. The stable ones have MariaDB only.
const suite = "sid"

// keyrings is where Debian's keys lie; the second from Debian 13 on.
var keyrings = []string{"/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"}

// unpack lets apt-get fetch packages with all that they depend on, and unpacks them into the folder root. Nothing of it touches this
// machine's own packages: apt-get has all its state in the folder work.
func unpack(ctx context.Context, work, root string, packages []string) error {
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
		if err := quietly(exec.CommandContext(ctx, "dpkg", "-x", archive, root)); err != nil {
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
	mirrors, err := mirrors(ctx)
	if err != nil {
		return err
	}
	install := append([]string{"--yes", "--no-install-recommends", "--download-only", "install"}, packages...)
	failure := errors.New("this machine has no sources of Debian's in /etc/apt")
	for _, uri := range mirrors {
		source := "Types: deb\nURIs: " + uri + "\nSuites: " + suite + "\nComponents: main\n" + signedBy()
		if err := os.WriteFile(filepath.Join(work, "sources/debian.sources"), []byte(source), 0o644); err != nil {
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

func signedBy() string {
	for _, keyring := range keyrings {
		if _, err := os.Stat(keyring); err == nil {
			return "Signed-By: " + keyring + "\n"
		}
	}
	return "" // the machine's trusted keys
}

// mirrors returns where this machine itself gets Debian's packages from. apt says it: it knows all forms of its files.
func mirrors(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages").Output()
	if err != nil {
		return nil, fmt.Errorf("apt-get indextargets: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		uri, component, _ := strings.Cut(strings.TrimSpace(line), " ")
		uri = strings.TrimSuffix(uri, "/")
		// Debian's own archive is at …/debian nearly everywhere, others' are not.
		if component == "main" && filepath.Base(uri) == "debian" && !slices.Contains(found, uri) {
			found = append(found, uri)
		}
	}
	return found, nil
}

func aptGet(ctx context.Context, work string, args ...string) error {
	options := []string{
		"Dir::State::Lists=" + filepath.Join(work, "lists"),
		"Dir::State::status=" + filepath.Join(work, "status"), // empty: every dependency comes along
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
	cmd := exec.CommandContext(ctx, "apt-get", append(argv, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	return quietly(cmd)
}

// quietly runs a program; an error has the end of what it said.
func quietly(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, end(strings.TrimSpace(string(out)), 2000))
	}
	return nil
}
