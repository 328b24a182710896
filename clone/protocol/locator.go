package protocol

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// A Locator names a snapshot of a donor, as long as the donor's server runs: the next process counts from 1 again.
type Locator [34]byte

// Where a locator has what a restart locator sets. Behind it comes the progress.
const (
	locatorNames    = 12 // clone, snapshot and index, to locatorState
	locatorState    = 32
	locatorMetadata = 33
)

// names is the part of a locator that says which snapshot is meant.
func (l Locator) names() [locatorState - locatorNames]byte {
	return [locatorState - locatorNames]byte(l[locatorNames:locatorState])
}

// restart returns the locator with which a session goes on from what p says. The chunk count of p must be the donor's own: a bit
// beyond it ends the donor's server.
func (l Locator) restart(p Progress) []byte {
	if p.State <= StateInit {
		return l[:] // there is no progress to tell
	}
	b := append([]byte(nil), l[:]...)
	b[locatorState], b[locatorMetadata] = byte(p.State), 0
	if p.AllFiles {
		b[locatorMetadata] = 1
	}
	be := binary.BigEndian
	b = be.AppendUint32(b, uint32(len(p.Partial)))
	for _, part := range p.Partial {
		b = be.AppendUint32(b, part.Chunk)
		b = be.AppendUint32(b, part.Blocks)
	}
	b = be.AppendUint32(b, uint32(len(p.Chunks)))
	for _, word := range p.Chunks {
		b = be.AppendUint32(b, word)
	}
	be.PutUint32(b[4:], uint32(len(b)))
	return b
}

// MarshalText returns the base64 of the locator.
func (l Locator) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, l[:]), nil
}

// UnmarshalText reads what MarshalText wrote, and refuses what is not a locator.
func (l *Locator) UnmarshalText(text []byte) error {
	b, err := base64.StdEncoding.AppendDecode(nil, text)
	if err == nil && len(b) != locatorLength {
		err = fmt.Errorf("%d bytes, want %d", len(b), locatorLength)
	}
	if err == nil {
		*l, err = decodeLocator(b)
	}
	if err != nil {
		return fmt.Errorf("locator: %w", err)
	}
	return nil
}
