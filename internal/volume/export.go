package volume

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ordinal/internal/atomicfile"
)

// errantDir holds what was exported of the generations that are in service, a directory each time: 000007-20261121T134700Z.
const errantDir = "agent/errant"

// An Export is a directory being made of files that say what only this pod has of a generation, in a form that others can read.
// It belongs to the generation: whatever takes that to quarantine puts it beside the data, as errant-<UTC time>/, and
// [Volume.Undo] brings it back. Write into Root, then Keep, then Close. Its methods must not be called concurrently.
type Export struct {
	volume *Volume
	root   *os.Root
	temp   string // its name until Keep; "" from then on
	number int
}

// NewExport begins one of generation n, which must be complete: [ErrState].
func (v *Volume) NewExport(n int) (*Export, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	x, err := v.newExport(n)
	if err != nil {
		return nil, fmt.Errorf("export from generation %d: %w", n, v.writable(err))
	}
	return x, nil
}

func (v *Volume) newExport(n int) (*Export, error) {
	if err := v.settled(n); err != nil {
		return nil, err
	}
	if err := v.mkdir(errantDir); err != nil {
		return nil, err
	}
	// atomicfile.IsTemp: who opens the volume next removes what was not kept.
	x := &Export{volume: v, number: n, temp: path.Join(errantDir, "."+genName(n)+".tmp-"+strings.ToLower(rand.Text()[:12]))}
	if err := v.root.Mkdir(x.temp, dirMode); err != nil {
		return nil, v.pathErr(err, ".")
	}
	root, err := openDir(v.root, x.temp)
	x.root = root
	return x, err
}

// settled reports an error unless generation n is complete and no change is under way that could move it.
func (v *Volume) settled(n int) error {
	c, err := inspect(v.root)
	if err != nil {
		return err
	}
	if c.Kind == ChangeUnderWay {
		return state("the volume is %v: %s", c.Kind, c.Change)
	}
	if r := c.record(n); r == nil || r.State != StateComplete {
		return state("the volume has no complete generation %d", n)
	}
	return nil
}

// Root returns the directory to write into: regular files and directories. The caller does not close it.
func (x *Export) Root() *os.Root { return x.root }

// Keep makes all that was written durable and part of the generation, and returns the directory's path from then on.
// After an error nothing is kept.
func (x *Export) Keep(ctx context.Context) (string, error) {
	v := x.volume
	v.mu.Lock()
	defer v.mu.Unlock()
	name, err := x.keep(ctx)
	if err != nil {
		return "", fmt.Errorf("keep what was exported from generation %d: %w", x.number, v.writable(err))
	}
	return filepath.Join(v.path, name), nil
}

func (x *Export) keep(ctx context.Context) (string, error) {
	v := x.volume
	if x.temp == "" {
		return "", state("it is kept already")
	}
	if err := v.settled(x.number); err != nil {
		return "", err
	}
	if err := syncTree(ctx, x.root, false); err != nil {
		return "", err
	}
	there, err := v.exports(x.number)
	if err != nil {
		return "", err
	}
	to := export{x.number, now().Format(stamp)}
	for i, at := 2, to.at; slices.Contains(there, to); i++ {
		to.at = fmt.Sprintf("%s-%d", at, i)
	}
	if err := atomicfile.RenameRoot(v.root, x.temp, to.path()); err != nil {
		return "", v.pathErr(err, ".")
	}
	x.temp = ""
	return to.path(), nil
}

// Close releases the directory, and removes it unless it was kept.
func (x *Export) Close() error {
	err := x.root.Close()
	if x.temp != "" {
		err = errors.Join(err, x.volume.root.RemoveAll(x.temp))
		x.temp = ""
	}
	return err
}

// Exports returns the paths of the directories that were kept of generation n, oldest first.
func (v *Volume) Exports(n int) ([]string, error) {
	list, err := v.exports(n)
	if err != nil {
		return nil, fmt.Errorf("list what was exported from generation %d: %w", n, err)
	}
	paths := make([]string, len(list))
	for i, x := range list {
		paths[i] = filepath.Join(v.path, x.path())
	}
	return paths, nil
}

// export is a directory that was kept.
type export struct {
	number int
	at     string // UTC time, and a number where there are several
}

func (x export) path() string       { return path.Join(errantDir, genName(x.number)+"-"+x.at) }
func (x export) besideData() string { return "errant-" + x.at }

var (
	exportName = regexp.MustCompile(`^([0-9]{6})-([0-9]{8}T[0-9]{6}Z(?:-[0-9]+)?)$`)
	besideName = regexp.MustCompile(`^errant-([0-9]{8}T[0-9]{6}Z(?:-[0-9]+)?)$`)
)

// exports returns what was kept of generation n, by name.
func (v *Volume) exports(n int) ([]export, error) {
	switch err := checkLayoutDir(v.root, errantDir); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	names, err := readNames(v.root, errantDir)
	if err != nil {
		return nil, err
	}
	var list []export
	for _, name := range names {
		m := exportName.FindStringSubmatch(name)
		if m == nil || m[1] != genName(n) {
			continue
		}
		number, _ := strconv.Atoi(m[1])
		list = append(list, export{number, m[2]})
	}
	return list, nil
}
