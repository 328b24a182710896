package clone

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

// Bounds on what a donor may name. MySQL's file names are at most 255 bytes per component; a path is schema and table.
const (
	maxNameBytes  = 1024
	maxComponents = 2
)

// NameError is a file name in the stream that no server would send for a tablespace inside its data directory.
type NameError struct {
	Name string // as sent
	Why  string
}

func (e *NameError) Error() string { return fmt.Sprintf("file name %q: %s", e.Name, e.Why) }

// tablespacePath returns the path below the data directory for a tablespace's name as the donor sent it ("./shop/orders.ibd",
// "mysql.ibd", "undo_001"). Only shapes that a data directory has are let through: whoever writes the stream must not be able
// to place configuration, keys or a server's identity in it, nor anything outside.
func tablespacePath(name string) (string, error) {
	refuse := func(why string) (string, error) { return "", &NameError{Name: name, Why: why} }
	rel := strings.TrimPrefix(name, "./")
	switch {
	case rel == "":
		return refuse("empty")
	case len(rel) > maxNameBytes:
		return refuse("longer than any server's file names")
	case strings.HasPrefix(rel, "/"):
		return refuse("an absolute path: tables with DATA DIRECTORY are not supported")
	case strings.ContainsAny(rel, "\x00\\"):
		return refuse("contains a byte that no server writes")
	case !filepath.IsLocal(rel) || path.Clean(rel) != rel:
		return refuse("leaves the data directory")
	}
	parts := strings.Split(rel, "/")
	if len(parts) > maxComponents {
		return refuse("deeper than schema and table")
	}
	if strings.HasPrefix(parts[0], "#clone") || strings.HasPrefix(parts[0], "#innodb_") || strings.HasPrefix(parts[0], "#ib_") {
		return refuse("belongs to the server's own bookkeeping")
	}
	if strings.HasPrefix(parts[0], ".") {
		return refuse("hidden files are not part of a data directory")
	}
	switch ext := path.Ext(rel); {
	case ext == ".ibd" || ext == ".ibu":
	case len(parts) > 1:
		return refuse("is no tablespace file")
	case ext == ".cnf" || ext == ".pem" || ext == ".so" || ext == ".index" || ext == ".sdi":
		return refuse("is no tablespace file")
	}
	return rel, nil
}
