package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// HoldNote is agent/hold.json: a person has stopped replication, and the agent does not start it as long as the file is there.
type HoldNote struct {
	Reason string    `json:"reason,omitempty"` // the person's words, one line of at most 1000 bytes; "": unknown
	At     time.Time `json:"at,omitzero"`
}

const holdFile = "agent/hold.json"

// Hold durably leaves the note on the volume at path, or replaces it; it takes no lock. [ErrState] if reason is not one line of at most
// 1000 bytes, or if no agent has worked on this volume yet.
func Hold(path, reason string) error {
	return atAgent(path, "hold", func(root *os.Root) error {
		if err := checkLine(reason); err != nil {
			return state("reason: %v", err)
		}
		return writeJSON(root, holdFile, HoldNote{Reason: reason, At: now()})
	})
}

// Release durably removes the note from the volume at path, if there is one; it takes no lock.
func Release(path string) error {
	return atAgent(path, "release", func(root *os.Root) error { return removeDurably(root, holdFile) })
}

// Held returns the note on the volume at path, nil if there is none. What counts is that the file is there: one that cannot be read as
// a note, as somebody makes it by hand, holds too, with an empty reason. After an error it is not known whether
// there is one.
func Held(path string) (note *HoldNote, err error) {
	err = atAgent(path, "look for a hold", func(root *os.Root) error {
		note, err = held(root)
		return err
	})
	return note, err
}

// Held is the function [Held] for this volume.
func (v *Volume) Held() (*HoldNote, error) {
	note, err := held(v.root)
	if err != nil {
		return nil, fmt.Errorf("look for a hold: %w", err)
	}
	return note, nil
}

func held(root *os.Root) (*HoldNote, error) {
	switch _, err := root.Lstat(holdFile); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("in %s: %w", root.Name(), err)
	}
	note := new(HoldNote)
	if err := readBounded(root, holdFile, maxRequest, note); err != nil || checkLine(note.Reason) != nil {
		note = new(HoldNote)
	}
	return note, nil
}
