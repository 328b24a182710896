package protocol

import (
	"bytes"
	"encoding/binary"
)

// Descriptors are InnoDB's part of the protocol: all integers big-endian, a header of
// version, total length and type, then fixed fields.
const (
	descriptorVersion = 100 // the only one so far; donors send min(theirs, the client's)
	descriptorHeader  = 12

	typeLocator  = 1
	typeTaskMeta = 2
	typeState    = 3
	typeFileMeta = 4
	typeData     = 5

	locatorLength  = 34
	taskMetaLength = 24
	stateLength    = 46
	fileMetaLength = 62 // and the name, and the key
	dataLength     = 52

	keyLength = 64 // key and IV after the name, with FileKeyAppended

	maxName = 4096 // with the NUL byte
)

const (
	stateFlagStart = 1 // else the state ends
	stateFlagAck   = 2 // from the donor: a keep-alive
)

const knownFileFlags = FileZlib | FileLZ4 | FileEncrypted | FileRenamed | FileDeleted | FileKeyAppended

// taskMeta comes first on every connection that executes. It is informational.
type taskMeta struct {
	task, chunk, block uint32
}

// stateMeta marks the start or the end of a state.
type stateMeta struct {
	state     State
	task      uint32
	chunks    uint32
	files     uint32
	bytes     uint64
	diskBytes uint64
	flags     uint16
}

func (m stateMeta) start() bool     { return m.flags&stateFlagStart != 0 }
func (m stateMeta) keepAlive() bool { return m.flags&stateFlagAck != 0 }

func (m stateMeta) stage() Stage {
	return Stage{State: m.state, Chunks: m.chunks, Files: m.files, Bytes: m.bytes, DiskBytes: m.diskBytes}
}

// dataMeta announces the payload that follows it on the same connection.
type dataMeta struct {
	Data
	length uint32 // of the payload
}

// versionLocator is the locator that begins a clone: it says which descriptors this
// client reads, and names no snapshot.
func versionLocator() Locator {
	var l Locator
	putHeader(l[:], typeLocator)
	return l
}

// putHeader writes the header of a descriptor that fills b.
func putHeader(b []byte, typ uint32) {
	binary.BigEndian.PutUint32(b, descriptorVersion)
	binary.BigEndian.PutUint32(b[4:], uint32(len(b)))
	binary.BigEndian.PutUint32(b[8:], typ)
}

// decodeLocator checks a donor's locator. Its fields are the donor's own business.
func decodeLocator(b []byte) (Locator, error) {
	var l Locator
	if len(b) < locatorLength {
		return l, protocolError("locator of %d bytes", len(b))
	}
	v, n, t := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	// Servers may pad the buffer behind the length that the header gives.
	if v != descriptorVersion || t != typeLocator || n != locatorLength {
		return l, protocolError("locator with version %d, length %d, type %d", v, n, t)
	}
	copy(l[:], b)
	return l, nil
}

// decodeDescriptor reads one descriptor that fills b: a taskMeta, stateMeta, FileMeta or dataMeta.
// What it returns does not refer to b.
func decodeDescriptor(b []byte) (any, error) {
	if len(b) < descriptorHeader {
		return nil, protocolError("descriptor of %d bytes", len(b))
	}
	be := binary.BigEndian
	if v := be.Uint32(b); v != descriptorVersion {
		return nil, protocolError("descriptor version %d, want %d", v, descriptorVersion)
	}
	if n := be.Uint32(b[4:]); n != uint32(len(b)) {
		return nil, protocolError("descriptor says %d bytes, message has %d", n, len(b))
	}
	switch t := be.Uint32(b[8:]); t {
	case typeTaskMeta:
		if len(b) != taskMetaLength {
			return nil, protocolError("task descriptor of %d bytes", len(b))
		}
		return taskMeta{be.Uint32(b[12:]), be.Uint32(b[16:]), be.Uint32(b[20:])}, nil
	case typeState:
		return decodeState(b)
	case typeFileMeta:
		return decodeFileMeta(b)
	case typeData:
		return decodeData(b)
	default:
		return nil, protocolError("descriptor type %d", t)
	}
}

func decodeState(b []byte) (stateMeta, error) {
	be := binary.BigEndian
	if len(b) != stateLength {
		return stateMeta{}, protocolError("state descriptor of %d bytes", len(b))
	}
	m := stateMeta{
		state:     State(be.Uint32(b[12:])),
		task:      be.Uint32(b[16:]),
		chunks:    be.Uint32(b[20:]),
		files:     be.Uint32(b[24:]),
		bytes:     be.Uint64(b[28:]),
		diskBytes: be.Uint64(b[36:]),
		flags:     be.Uint16(b[44:]),
	}
	if m.state < StateInit || m.state > StateDone {
		return m, protocolError("state descriptor of unknown %v", m.state)
	}
	if m.flags&^(stateFlagStart|stateFlagAck) != 0 {
		return m, protocolError("state descriptor with flags %#x", m.flags)
	}
	return m, nil
}

func (m stateMeta) encode() []byte {
	b := make([]byte, stateLength)
	be := binary.BigEndian
	putHeader(b, typeState)
	be.PutUint32(b[12:], uint32(m.state))
	be.PutUint32(b[16:], m.task)
	be.PutUint32(b[20:], m.chunks)
	be.PutUint32(b[24:], m.files)
	be.PutUint64(b[28:], m.bytes)
	be.PutUint64(b[36:], m.diskBytes)
	be.PutUint16(b[44:], m.flags)
	return b
}

func decodeFileMeta(b []byte) (FileMeta, error) {
	be := binary.BigEndian
	if len(b) < fileMetaLength {
		return FileMeta{}, protocolError("file descriptor of %d bytes", len(b))
	}
	f := FileMeta{
		State:      State(be.Uint32(b[12:])),
		Size:       be.Uint64(b[16:]),
		AllocSize:  be.Uint64(b[24:]),
		FSPFlags:   be.Uint32(b[32:]),
		BlockSize:  be.Uint32(b[36:]),
		Flags:      FileFlags(be.Uint16(b[40:])),
		SpaceID:    be.Uint32(b[42:]),
		Index:      be.Uint32(b[46:]),
		FirstChunk: be.Uint32(b[50:]),
		LastChunk:  be.Uint32(b[54:]),
	}
	n := be.Uint32(b[58:])
	rest := b[fileMetaLength:]
	if f.Flags&^knownFileFlags != 0 {
		return f, protocolError("file descriptor with flags %#x", uint16(f.Flags))
	}
	if f.Flags&FileKeyAppended != 0 {
		if len(rest) < keyLength {
			return f, protocolError("file descriptor of %d bytes without its key", len(b))
		}
		rest = rest[:len(rest)-keyLength] // never kept
	}
	if n > maxName || uint64(n) != uint64(len(rest)) {
		return f, protocolError("file name of %d bytes in %d bytes, at most %d", n, len(rest), maxName)
	}
	if n > 0 {
		if i := bytes.IndexByte(rest, 0); i != len(rest)-1 {
			return f, protocolError("file name %q is not terminated by its only NUL byte", rest)
		}
		f.Name = string(rest[:len(rest)-1])
	}
	switch {
	case f.State < StateFileCopy || f.State > StateRedoCopy:
		return f, protocolError("file descriptor of %v", f.State)
	case f.Redo() && f.State != StateRedoCopy:
		return f, protocolError("redo file in %v", f.State)
	case f.Name == "" && !f.Redo() && !f.Deleted():
		return f, protocolError("file %d has no name", f.Index)
	case f.Size > maxFileSize:
		return f, protocolError("file %q of %d bytes", f.Name, f.Size)
	}
	return f, nil
}

// maxFileSize bounds sizes and offsets, in bytes: no file system has larger files, and sums
// do not overflow.
const maxFileSize = 1 << 62

func (f FileMeta) encode() []byte {
	name := 0
	if f.Name != "" {
		name = len(f.Name) + 1
	}
	b := make([]byte, fileMetaLength+name)
	be := binary.BigEndian
	putHeader(b, typeFileMeta)
	be.PutUint32(b[12:], uint32(f.State))
	be.PutUint64(b[16:], f.Size)
	be.PutUint64(b[24:], f.AllocSize)
	be.PutUint32(b[32:], f.FSPFlags)
	be.PutUint32(b[36:], f.BlockSize)
	be.PutUint16(b[40:], uint16(f.Flags))
	be.PutUint32(b[42:], f.SpaceID)
	be.PutUint32(b[46:], f.Index)
	be.PutUint32(b[50:], f.FirstChunk)
	be.PutUint32(b[54:], f.LastChunk)
	be.PutUint32(b[58:], uint32(name))
	copy(b[fileMetaLength:], f.Name)
	return b
}

func decodeData(b []byte) (dataMeta, error) {
	be := binary.BigEndian
	if len(b) != dataLength {
		return dataMeta{}, protocolError("data descriptor of %d bytes", len(b))
	}
	d := dataMeta{
		Data: Data{
			State:    State(be.Uint32(b[12:])),
			Task:     be.Uint32(b[16:]),
			Chunk:    be.Uint32(b[20:]),
			Block:    be.Uint32(b[24:]),
			File:     be.Uint32(b[28:]),
			Offset:   be.Uint64(b[36:]),
			FileSize: be.Uint64(b[44:]),
		},
		length: be.Uint32(b[32:]),
	}
	switch {
	case d.State < StateFileCopy || d.State > StateRedoCopy:
		return d, protocolError("data descriptor of %v", d.State)
	case d.length == 0 || d.length > MaxData:
		return d, protocolError("data of %d bytes, want 1 to %d", d.length, MaxData)
	case d.Offset > maxFileSize || d.FileSize > maxFileSize:
		return d, protocolError("data at offset %d of a file of %d bytes", d.Offset, d.FileSize)
	}
	return d, nil
}

func (d dataMeta) encode() []byte {
	b := make([]byte, dataLength)
	be := binary.BigEndian
	putHeader(b, typeData)
	be.PutUint32(b[12:], uint32(d.State))
	be.PutUint32(b[16:], d.Task)
	be.PutUint32(b[20:], d.Chunk)
	be.PutUint32(b[24:], d.Block)
	be.PutUint32(b[28:], d.File)
	be.PutUint32(b[32:], d.length)
	be.PutUint64(b[36:], d.Offset)
	be.PutUint64(b[44:], d.FileSize)
	return b
}

func (m taskMeta) encode() []byte {
	b := make([]byte, taskMetaLength)
	putHeader(b, typeTaskMeta)
	binary.BigEndian.PutUint32(b[12:], m.task)
	binary.BigEndian.PutUint32(b[16:], m.chunk)
	binary.BigEndian.PutUint32(b[20:], m.block)
	return b
}
