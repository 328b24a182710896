package mysqltest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// WithKeyring returns a distribution whose servers have a keyring, so that tablespaces can be encrypted: give it to Options.Distribution.
// The keyring belongs to the distribution and goes with the test. It is to be had for unpacked packages only, because mysqld looks for
// the list of components beside its own program; else the test is skipped. See refman/8.4 keyring-component-installation.
func WithKeyring(t testing.TB) *Distribution {
	t.Helper()
	d := Get(t)
	if d.root == "" {
		t.Skip("needs a mysqld from unpacked packages to give it a keyring")
	}
	dir, err := os.MkdirTemp("", "mysqltest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := overlay(dir, d.root); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`{"path": %q, "read_only": false}`, filepath.Join(dir, "keyring"))
	for name, text := range map[string]string{
		"usr/sbin/mysqld.my":                              `{"components": "file://component_keyring_file"}`,
		"usr/lib/mysql/plugin/component_keyring_file.cnf": config,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	with, err := inspect(ctx, filepath.Join(dir, "usr/sbin/mysqld"), d.cache)
	if err != nil {
		t.Fatal(err)
	}
	with.origin = d.origin // its template is the same
	return &with
}

// overlay makes a folder that looks like root but in which files can be added beside mysqld and its plugins. The program itself is
// copied: it resolves links to find its own folder.
func overlay(dir, root string) error {
	links := func(folder string, but ...string) error {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return err
		}
		entries, err := os.ReadDir(filepath.Join(root, folder))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if len(but) > 0 && e.Name() == but[0] {
				continue
			}
			name := filepath.Join(folder, e.Name())
			if err := os.Symlink(filepath.Join(root, name), filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.Join(
		links("usr", "lib"), os.Remove(filepath.Join(dir, "usr/sbin")),
		links("usr/lib", "mysql"), links("usr/lib/mysql", "plugin"), links("usr/lib/mysql/plugin"),
		links("usr/sbin", "mysqld"),
		copySparse(filepath.Join(dir, "usr/sbin/mysqld"), filepath.Join(root, "usr/sbin/mysqld")))
}
