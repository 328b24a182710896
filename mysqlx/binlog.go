package mysqlx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// What is read of a binlog. All integers are little-endian. See refman/8.4 binary-log-formats and, for the layout, the server's
// reference of libbinlogevents.
const (
	binlogMagicSize = 4
	eventHeaderSize = 19
	offEventType    = 4
	offEventLength  = 9
	eventStop       = 3 // the server shut down
	eventRotate     = 4 // the server went on in the next file
)

// ShutDownInOrder reports whether every server that ran on dataDir before the present one ended by a shutdown: all its binlogs but the newest
// end with a Stop or Rotate event, which a killed server has not written. base is the base name of the binlogs, like
// "binlog". Without binlogs the answer is yes: nothing is known against it.
func ShutDownInOrder(dataDir, base string) (bool, error) {
	index, err := os.ReadFile(filepath.Join(dataDir, base+".index"))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the list of binlogs: %w", err)
	}
	names := bytes.Fields(index)
	for len(names) > 1 {
		last, err := lastEvent(filepath.Join(dataDir, filepath.Base(string(names[0]))))
		if err != nil {
			return false, fmt.Errorf("read binlog %s: %w", names[0], err)
		}
		if last != eventStop && last != eventRotate {
			return false, nil
		}
		names = names[1:]
	}
	return true, nil
}

// lastEvent returns the type of the last event that is whole, 0 if there is none.
func lastEvent(name string) (last byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	var header [eventHeaderSize]byte
	for at := int64(binlogMagicSize); at < info.Size(); {
		if _, err := f.ReadAt(header[:], at); errors.Is(err, io.EOF) {
			return 0, nil // cut in the middle of an event
		} else if err != nil {
			return 0, err
		}
		length := int64(binary.LittleEndian.Uint32(header[offEventLength:]))
		if length < eventHeaderSize || at+length > info.Size() {
			return 0, nil
		}
		last, at = header[offEventType], at+length
	}
	return last, nil
}
