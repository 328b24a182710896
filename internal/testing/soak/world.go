package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// worldMark is in the environment of a program that is in a world of its own, with what was prepared outside.
const worldMark = "ORDINAL_SOAK_WORLD"

// enterWorld starts this program over with networks and mounts of its own, in the same process. Whatever is made there, cables, routes,
// addresses, shared memory, is seen by nobody else and ends with the last process, however that ends: there is nothing to clean up.
func (p *prepared) enterWorld() error {
	told, err := json.Marshal(p)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the thread that leaves is the one that goes on in the new program
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("networks of their own for the Pods: %w; run it as root, by `unshare --user --map-root-user make soak`, or with -loopback", err)
	}
	err = syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), worldMark+"="+string(told)))
	return fmt.Errorf("start over in a network of its own: %w", err)
}

// fromOutside returns what was prepared outside, nil if this is outside.
func fromOutside() (*prepared, error) {
	told := os.Getenv(worldMark)
	if told == "" {
		return nil, nil
	}
	p := new(prepared)
	if err := json.Unmarshal([]byte(told), p); err != nil {
		return nil, fmt.Errorf("%s: %w", worldMark, err)
	}
	return p, furnishWorld()
}

func furnishWorld() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	// libfaketime leaves a piece of shared memory behind for each mysqld that is killed.
	if err := unix.Mount("soak", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("shared memory of our own: %w", err)
	}
	return ip("link", "set", "lo", "up")
}
