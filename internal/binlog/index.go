package binlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

const maxIndex = 16 << 20 // bytes

// Files returns the names of the binlogs that the index file of a directory lists, oldest first. base is their base name, like "binlog". The
// server writes names with the directory as it was told it, which may be another today: only what follows the last slash
// counts, and all files are taken to lie beside the index. Errors: fs.ErrNotExist without an index file.
func Files(dir *os.Root, base string) ([]string, error) {
	if base == "" || base != path.Base(base) || base == "." || base == ".." {
		return nil, fmt.Errorf("base name of binlogs %q: give a name without a directory, like binlog", base)
	}
	f, err := openIndex(dir, base)
	if err != nil {
		return nil, fmt.Errorf("read the list of binlogs: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if err == nil && len(text) > maxIndex {
		err = fmt.Errorf("longer than %d bytes", maxIndex)
	}
	if err != nil {
		return nil, fmt.Errorf("read the list of binlogs %s.index: %w", base, err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			continue
		}
		name := path.Base(line)
		if number, ok := strings.CutPrefix(name, base+"."); !ok || number == "" || strings.Trim(number, "0123456789") != "" {
			return nil, fmt.Errorf("read the list of binlogs %s.index: %q is not a binlog called %s.NNNNNN", base, line, base)
		}
		names = append(names, name)
	}
	return names, nil
}

// openIndex opens the index file, or the one that is about to take its name: the server writes the new one, removes the old one and then renames.
// A server that is killed in between does the last step when it starts again.
func openIndex(dir *os.Root, base string) (f *os.File, err error) {
	const attempts = 10 // the server may do it again while we look
	for range attempts {
		for _, name := range []string{base + ".index", base + ".index_crash_safe"} {
			if f, err = open(dir, name); !errors.Is(err, fs.ErrNotExist) {
				return f, err
			}
		}
	}
	return nil, fmt.Errorf("open %s.index: %w", base, fs.ErrNotExist)
}

// open opens a regular file: another kind could keep us waiting.
func open(dir *os.Root, name string) (*os.File, error) {
	info, err := dir.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: not a regular file", name)
	}
	return dir.Open(name)
}
