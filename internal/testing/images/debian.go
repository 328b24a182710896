package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"ordinal/internal/testing/debian"
)

// layout is raised when what is made of the packages changes.
const layout = 1

// shell is what every image for tests has, as a user finds it in official images.
var shell = []string{"base-files", "base-passwd", "bash", "ca-certificates", "coreutils", "dash", "findutils", "grep", "gzip", "sed"}

// mysqlUser is mysql:mysql, as in the official image.
const mysqlUser = 999

// packaged returns an image of unpacked packages, with what their installation would have made as far as tests need it.
func packaged(ctx context.Context, name string, packages ...string) (ref string, err error) {
	packages = slices.Concat(shell, packages)
	ref = tag(name, layout, debian.Suite, runtime.GOARCH, packages)
	return ref, once(ctx, ref, func() (err error) {
		cache, err := cacheDir()
		if err != nil {
			return err
		}
		work, err := os.MkdirTemp(cache, "tmp-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
		root := filepath.Join(work, "root")
		if err := debian.Unpack(ctx, work, root, packages); err != nil {
			return fmt.Errorf("get packages for %s: %w", ref, err)
		}
		if err := finish(root); err != nil {
			return fmt.Errorf("set up %s: %w", ref, err)
		}
		return importTree(ctx, ref, root)
	})
}

// importTree makes an image with one layer of the files of a folder, all of them root's but for those of mysql.
func importTree(ctx context.Context, ref, root string) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeTree(w, root)) }()
	_, err := dockerWith(ctx, r, "import", "-", ref)
	return errors.Join(err, r.Close())
}

// finish does the little that the packages' own scripts would do.
func finish(root string) error {
	path := func(name string) string { return filepath.Join(root, name) }
	for _, dir := range []string{"var/run", "var/lock"} { // links, in a machine that was installed
		if err := os.RemoveAll(path(dir)); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"var/run": "/run", "var/lock": "/run/lock", "usr/bin/sh": "dash", "usr/bin/awk": "mawk"} {
		if err := os.Symlink(target, path(name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	mysql := fmt.Sprintf("%d:%d", mysqlUser, mysqlUser)
	for name, text := range map[string]string{
		"etc/passwd":        "root:x:0:0:root:/root:/bin/bash\nmysql:x:" + mysql + "::/var/lib/mysql:/bin/false\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
		"etc/group":         fmt.Sprintf("root:x:0:\nmysql:x:%d:\nnogroup:x:65534:\n", mysqlUser),
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	} {
		if err := os.WriteFile(path(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, dir := range slices.Concat(mysqlDirs, []string{"etc/mysql/conf.d", "docker-entrypoint-initdb.d", "usr/local/bin", "run/lock"}) {
		if err := os.MkdirAll(path(dir), 0o755); err != nil {
			return err
		}
	}
	return bundleCertificates(root)
}

// bundleCertificates makes the one file of all authorities.
func bundleCertificates(root string) error {
	certificates, err := filepath.Glob(filepath.Join(root, "usr/share/ca-certificates/mozilla/*.crt"))
	if err != nil {
		return err
	}
	var all []byte
	for _, name := range certificates {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		all = append(all, b...)
	}
	return os.WriteFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"), all, 0o644)
}

// mysqlDirs belong to mysql and are open for whatever user the container runs as, as in the official image.
var mysqlDirs = []string{"var/lib/mysql", "var/lib/mysql-files", "run/mysqld"}

// unread are folders that no test looks into.
var unread = []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/perl"}

// writeTree writes a folder as a tar stream. Who owns it on this machine makes no difference.
func writeTree(w io.Writer, root string) error {
	out := tar.NewWriter(w)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil || name == "." {
			return err
		}
		if slices.Contains(unread, name) {
			return fs.SkipDir
		}
		return writeEntry(out, path, name, d)
	})
	return errors.Join(err, out.Close())
}

func writeEntry(out *tar.Writer, path, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	header.Name = strings.TrimSuffix(name, "/")
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	if d.IsDir() {
		header.Name += "/"
	}
	if slices.Contains(mysqlDirs, name) {
		header.Uid, header.Gid, header.Mode = mysqlUser, mysqlUser, 0o1777
	}
	if err := out.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return errors.Join(err, f.Close())
}
