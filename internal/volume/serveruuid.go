package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"

	"ordinal/internal/atomicfile"
)

// ForgetServerUUID takes auto.cnf out of generation n, so that the next start of mysqld makes a new server_uuid. The file is kept as
// agent/auto.cnf-<UTC time>. A mysqld may be running on n: it reads the file only when it starts. It is no error if the file is gone
// already. [ErrState] if n is not complete or a change is under way. When ctx has ended nothing is done.
func (v *Volume) ForgetServerUUID(ctx context.Context, n int) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.forgetServerUUID(ctx, n); err != nil {
		return fmt.Errorf("forget the server_uuid of generation %d: %w", n, v.writable(err))
	}
	return nil
}

func (v *Volume) forgetServerUUID(ctx context.Context, n int) error {
	if err := v.settled(n); err != nil {
		return err
	}
	if err := checkLayoutDir(v.root, genPath(n)); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	from := path.Join(genPath(n), "auto.cnf")
	switch st, err := v.root.Lstat(from); {
	case errors.Is(err, fs.ErrNotExist):
		if err := atomicfile.SyncRootDir(v.root, agentDir); err != nil { // seen is not synced
			return err
		}
		return atomicfile.SyncRootDir(v.root, genPath(n))
	case err != nil:
		return v.pathErr(err, ".")
	case !st.Mode().IsRegular():
		return damaged("find out what put it there, and move it away", "%s is not a regular file", filepath.Join(v.path, from))
	}
	to, err := v.autoCnfName()
	if err != nil {
		return err
	}
	if err := atomicfile.RenameRoot(v.root, from, to); err != nil {
		return v.pathErr(err, ".")
	}
	return nil
}

// autoCnfName is a name for the file that is not taken.
func (v *Volume) autoCnfName() (string, error) {
	base := path.Join(agentDir, "auto.cnf-"+now().Format(stamp))
	name := base
	for i := 2; ; i++ {
		_, err := v.root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
		if err != nil {
			return "", v.pathErr(err, ".")
		}
		name = fmt.Sprintf("%s-%d", base, i)
	}
}
