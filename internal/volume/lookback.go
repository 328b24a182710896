package volume

import (
	"fmt"
	"os"
)

// SwitchBegun reports whether [Volume.FinishSwitch] was called for what is [Switching]: no mysqld comes up on the old generation any more.
func (v *Volume) SwitchBegun() (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c, err := inspect(v.root)
	if err != nil || c.Kind != Switching || c.Current == 0 {
		return false, err
	}
	begun, err := v.barred(genPath(c.Current))
	if err != nil {
		return false, fmt.Errorf("look whether a switch was begun: %w", err)
	}
	return begun, nil
}

// Requested is [Volume.Request] without the lock.
func Requested(path string) (r *Request, err error) {
	err = atAgent(path, "read what was asked for", func(root *os.Root) error {
		r, err = readRequest(root)
		return err
	})
	return r, err
}
