package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// golangDockerfile makes the folders of this machine's Go an image like the official golang: the same paths and variables. Modules come from
// a folder of it, because a build may have no network; go.sum says what they have to be.
const golangDockerfile = `ARG BASE
FROM ${BASE}
LABEL ` + stageLabel + `=dockerfile
COPY go /usr/local/go
COPY proxy /proxy
ENV GOPATH=/go GOTOOLCHAIN=local GOPROXY=file:///proxy GOSUMDB=off PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /go
`

// golang returns the reference of an image that takes the place of the official golang image for builds of the module in the folder tree.
func golang(ctx context.Context, tree string) (ref string, err error) {
	base, err := packaged(ctx, "debian")
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT", "GOMODCACHE", "GOVERSION").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	env := strings.Fields(string(out)) // no path of Go's has white space in it
	if len(env) != 3 {
		return "", fmt.Errorf("go env: unknown answer %q", out)
	}
	sums, err := os.ReadFile(filepath.Join(tree, "go.sum"))
	if err != nil {
		return "", err
	}
	ref = tag("golang", base, golangDockerfile, env[2], sums)
	return ref, once(ctx, ref, func() error {
		r, w := io.Pipe()
		go func() { w.CloseWithError(writeGo(w, env[0], filepath.Join(env[1], "cache/download"), string(sums))) }()
		_, err := dockerWith(ctx, r, "build", "--tag", ref, "--build-arg", "BASE="+base, "-")
		return errors.Join(err, r.Close())
	})
}

// writeGo writes the build's context: Go without its tests, and the modules of a go.sum as a proxy would have them.
func writeGo(w io.Writer, goroot, modules, sums string) error {
	out := tar.NewWriter(w)
	if err := writeFile(out, file{"Dockerfile", 0o644, []byte(golangDockerfile)}); err != nil {
		return err
	}
	for _, dir := range []string{"bin", "lib", "pkg", "src"} {
		err := filepath.WalkDir(filepath.Join(goroot, dir), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "testdata":
				return fs.SkipDir
			case !d.Type().IsRegular() || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			name, err := filepath.Rel(goroot, path)
			if err != nil {
				return err
			}
			return copyFile(out, path, "go/"+name)
		})
		if err != nil {
			return err
		}
	}
	for _, name := range append(proxied(sums), "go.env", "VERSION") {
		path, at := filepath.Join(goroot, name), "go/"+name
		if strings.Contains(name, "/@v/") {
			path, at = filepath.Join(modules, name), "proxy/"+name
		}
		// A module's zip is there only if something of it is built, its .info only if somebody asked for it.
		if err := copyFile(out, path, at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return out.Close()
}

// proxied returns the files of a module proxy that a go.sum vouches for. See https://go.dev/ref/mod#goproxy-protocol.
func proxied(sums string) (names []string) {
	for line := range strings.Lines(sums) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		version, onlyMod := strings.CutSuffix(fields[1], "/go.mod")
		at := escaped(fields[0]) + "/@v/" + escaped(version)
		if onlyMod {
			names = append(names, at+".mod", at+".info")
		} else {
			names = append(names, at+".zip")
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// escaped writes capitals as file systems that do not know them can keep apart.
func escaped(text string) string {
	var b bytes.Buffer
	for _, r := range text {
		if unicode.IsUpper(r) {
			b.WriteByte('!')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func copyFile(out *tar.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return err
}
