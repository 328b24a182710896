// Package stream reads and writes the framed format in which a copy of a data directory travels from a donor to a recipient.
//
// Its main idea: a stream that merely stops is not finished. Every frame has a length and checksums, frames are numbered,
// the last one carries totals, and a [Reader] reports anything else as an error and stays there.
//
// The format is docs/formats/stream.md. The package knows nothing of files: whether a name is a safe path, and whether a Data
// frame refers to a file that was announced, is for the one who applies the frames to find out.
package stream

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"
	"strings"
)

const (
	// Version is the only version of the format that this package writes and reads.
	Version = 2

	// DataOverhead is the number of bytes before the data in the payload of a Data frame: with a buffer buf that is large enough,
	// [Reader.Next] puts the data at buf[DataOverhead:].
	DataOverhead = 40

	// MaxFrame is the largest payload of a frame in bytes. A buffer of this size holds the payload of any frame.
	MaxFrame = 4<<20 + 64<<10
	// MaxData is the largest number of data bytes in one Data frame.
	MaxData = MaxFrame - DataOverhead
	// MaxName is the largest length of a file name in bytes.
	MaxName = 4096
	// MaxJSON is the largest length of the payload of a Hello or Abort frame in bytes.
	MaxJSON = 1 << 20
)

const (
	magic        = "ORDSTR"
	preambleSize = len(magic) + 2
	headerSize   = 24

	stageStartSize = 1 + 4 + 4 + 8 + 8
	fileSize       = 1 + 4 + 4 + 2 + 4 + 4 + 8 + 8 + 4 + 4 // without the name
	stageEndSize   = 1 + 8 + 8
	endSize        = 8 + 8 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var be = binary.BigEndian

// Kind is what a frame is.
type Kind uint8

// The kinds of frames.
const (
	KindHello      Kind = 1
	KindStageStart Kind = 2
	KindFile       Kind = 3
	KindData       Kind = 4
	KindStageEnd   Kind = 5
	KindHeartbeat  Kind = 6
	KindAbort      Kind = 7
	KindEnd        Kind = 8
)

var kindNames = [...]string{"", "Hello", "StageStart", "File", "Data", "StageEnd", "Heartbeat", "Abort", "End"}

func (k Kind) String() string {
	if k >= KindHello && k <= KindEnd {
		return kindNames[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

// limits returns the smallest and the largest payload of a kind; ok is false if there is no such kind.
func (k Kind) limits() (low, high uint32, ok bool) {
	switch k {
	case KindHello, KindAbort:
		return 2, MaxJSON, true
	case KindStageStart:
		return stageStartSize, stageStartSize, true
	case KindFile:
		return fileSize, fileSize + MaxName, true
	case KindData:
		return DataOverhead, MaxFrame, true
	case KindStageEnd:
		return stageEndSize, stageEndSize, true
	case KindHeartbeat:
		return 0, 0, true
	case KindEnd:
		return endSize, endSize, true
	}
	return 0, 0, false
}

// Stage is a stage of a clone, with the numbers of the server's CLONE protocol.
type Stage uint8

// The stages, in the order in which a clone passes them.
const (
	StageInit     Stage = 1
	StageFileCopy Stage = 2 // a fuzzy copy of every file
	StagePageCopy Stage = 3 // pages changed since FILE_COPY began, once more
	StageRedoCopy Stage = 4 // the redo log that makes the copy consistent
	StageDone     Stage = 5
)

var stageNames = [...]string{"", "INIT", "FILE_COPY", "PAGE_COPY", "REDO_COPY", "DONE"}

func (s Stage) String() string {
	if s.valid() {
		return stageNames[s]
	}
	return "stage " + strconv.Itoa(int(s))
}

func (s Stage) valid() bool { return s >= StageInit && s <= StageDone }

// Hello describes the donor and what it is about to send. It is the first frame, and decides which frames may follow: a lane
// beside the main one carries nothing but Data of FILE_COPY, and a resumed stream goes on in the middle of a stage or after one.
type Hello struct {
	FormatVersion  int    `json:"format_version"` // [Version]; the Writer sets it
	SessionID      string `json:"session_id"`
	Attempt        int    `json:"attempt"`       // the streams of one attempt belong together
	Lane           int    `json:"lane"`          // which of them this is; 0 is the main one
	Lanes          int    `json:"lanes"`         // how many there are
	Resumes        Stage  `json:"resumes"`       // the stage in which it goes on; 0: from the beginning
	ResumesEnded   bool   `json:"resumes_ended"` // that stage is over at the recipient
	DonorPod       string `json:"donor_pod"`
	ClusterID      string `json:"cluster_id"`
	ServerVersion  string `json:"server_version"`
	PageSize       uint32 `json:"page_size"`       // innodb_page_size in bytes
	EstimatedBytes uint64 `json:"estimated_bytes"` // 0 if not known
	// GTIDExecuted is what the donor had executed when the session began: the copy has at least that. "" if not known, or too long to tell.
	GTIDExecuted string            `json:"gtid_executed,omitempty"`
	Warnings     []string          `json:"warnings,omitempty"`
	Parameters   map[string]string `json:"parameters,omitempty"` // the server's CONFIG values by name
	Plugins      []Plugin          `json:"plugins,omitempty"`
	Collations   []string          `json:"collations,omitempty"`
}

// Plugin is a plugin of the donor that a server started on the copy must have.
type Plugin struct {
	Name         string `json:"name"`
	SharedObject string `json:"shared_object"` // empty: built into the server
}

// StageStart opens a stage.
type StageStart struct {
	Stage     Stage
	Chunks    uint32
	Files     uint32 // FILE_COPY and REDO_COPY: files; PAGE_COPY: pages
	Bytes     uint64 // the donor's estimate
	DiskBytes uint64 // the donor's estimate of what the stage takes on disk; smaller with sparse files
}

// Flags of a File frame.
const (
	FlagZlib      uint16 = 1 // page compression
	FlagLZ4       uint16 = 2 // page compression
	FlagEncrypted uint16 = 4
	FlagRenamed   uint16 = 8
	FlagDeleted   uint16 = 16
	FlagKey       uint16 = 32 // a clear key follows in the server's descriptor; never in a stream
)

// File announces a file or a change to one, with the fields of the server's FileMeta descriptor.
type File struct {
	Stage      Stage
	Index      uint32 // identity of the file; data files and redo files are two index spaces
	SpaceID    uint32
	Flags      uint16
	FSPFlags   uint32 // 0xFFFFFFFF: not a tablespace
	BlockSize  uint32 // of the donor's file system, in bytes
	Size       uint64 // in bytes
	Alloc      uint64 // bytes allocated on the donor's disk
	FirstChunk uint32
	LastChunk  uint32
	Name       string // as the donor's server sent it; empty for redo files; not checked to be a safe path
}

// Encoding says how the bytes of a Data frame are packed.
type Encoding uint8

// The encodings.
const (
	Plain Encoding = 0 // as they are in the file
	Zstd  Encoding = 1 // one zstd frame of DataHeader.RawLen bytes
)

// DataHeader says where the bytes of a Data frame belong.
type DataHeader struct {
	Stage    Stage
	Encoding Encoding
	Task     uint16 // who sends it; a task works through one chunk at a time, block by block
	File     uint32 // index of the file
	Chunk    uint32
	Block    uint32 // blocks of the chunk that were sent, this one included
	Offset   uint64 // in the file, in bytes
	FileSize uint64 // as the donor knows it now
	RawLen   uint32 // bytes after unpacking, 1 … MaxData; 0 when they are not packed
}

// Len returns how many bytes of the file a frame with n data bytes carries.
func (d *DataHeader) Len(n int) int {
	if d.Encoding == Plain {
		return n
	}
	return int(d.RawLen)
}

// Data is a piece of a file.
type Data struct {
	DataHeader
	Bytes []byte // aliases the buffer given to [Reader.Next]; at most MaxData
}

// StageEnd closes a stage and says what was sent in it.
type StageEnd struct {
	Stage      Stage
	DataBytes  uint64 // data bytes in the stage's Data frames
	DataFrames uint64 // the number of these frames
}

// End closes a complete stream.
type End struct {
	Frames    uint64 // number of frames before it
	DataBytes uint64 // data bytes in all Data frames
	Chain     uint32 // CRC-32C over the header checksums of all frames before it
}

// AbortError is the content of an Abort frame: why the sender gave up. [Reader.Next] returns it as its error.
type AbortError struct {
	Reason  string `json:"reason"`  // a stable code
	Message string `json:"message"` // for people
}

func (e *AbortError) Error() string {
	return fmt.Sprintf("the sender aborted the stream: %s (%s)", e.Message, e.Reason)
}

// Encoding and decoding of payloads. Decoders get a payload whose length is within the limits of its kind.

func encodeJSON(what Kind, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err == nil && len(b) > MaxJSON {
		err = fmt.Errorf("%d bytes of JSON, at most %d are allowed", len(b), MaxJSON)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %v: %w", what, err)
	}
	return b, nil
}

func decodeHello(p []byte) (*Hello, error) {
	var h *Hello // stays nil for the JSON value null
	if err := json.Unmarshal(p, &h); err != nil {
		return nil, err
	}
	if h == nil || h.FormatVersion != Version {
		return nil, fmt.Errorf("format_version is not %d", Version)
	}
	return h, h.check()
}

// check refuses a greeting that contradicts itself.
func (h *Hello) check() error {
	switch {
	case h.Lane < 0 || h.Lane > 0 && h.Lane >= h.Lanes:
		return fmt.Errorf("lane %d of %d", h.Lane, h.Lanes)
	case h.Resumes != 0 && !hasFiles(h.Resumes), h.Resumes == 0 && h.ResumesEnded:
		return fmt.Errorf("it resumes %v", h.Resumes)
	}
	return nil
}

func decodeAbort(p []byte) (*AbortError, error) {
	e := new(AbortError)
	if err := json.Unmarshal(p, e); err != nil {
		return nil, err
	}
	return e, nil
}

func (s StageStart) append(b []byte) []byte {
	b = append(b, byte(s.Stage))
	b = be.AppendUint32(b, s.Chunks)
	b = be.AppendUint32(b, s.Files)
	b = be.AppendUint64(b, s.Bytes)
	return be.AppendUint64(b, s.DiskBytes)
}

func (s StageStart) check() error { return checkSizes(s.Bytes, s.DiskBytes) }

func decodeStageStart(p []byte) (StageStart, error) {
	s := StageStart{
		Stage: Stage(p[0]), Chunks: be.Uint32(p[1:]), Files: be.Uint32(p[5:]), Bytes: be.Uint64(p[9:]), DiskBytes: be.Uint64(p[17:]),
	}
	return s, s.check()
}

func (f *File) append(b []byte) []byte {
	b = append(b, byte(f.Stage))
	b = be.AppendUint32(b, f.Index)
	b = be.AppendUint32(b, f.SpaceID)
	b = be.AppendUint16(b, f.Flags)
	b = be.AppendUint32(b, f.FSPFlags)
	b = be.AppendUint32(b, f.BlockSize)
	b = be.AppendUint64(b, f.Size)
	b = be.AppendUint64(b, f.Alloc)
	b = be.AppendUint32(b, f.FirstChunk)
	b = be.AppendUint32(b, f.LastChunk)
	return append(b, f.Name...)
}

func (f *File) check() error {
	if len(f.Name) > MaxName {
		return fmt.Errorf("file name of %d bytes, at most %d are allowed", len(f.Name), MaxName)
	}
	if strings.IndexByte(f.Name, 0) >= 0 {
		return fmt.Errorf("file name %q contains a NUL byte", f.Name)
	}
	return checkSizes(f.Size, f.Alloc)
}

func decodeFile(p []byte) (File, error) {
	f := File{
		Stage: Stage(p[0]), Index: be.Uint32(p[1:]), SpaceID: be.Uint32(p[5:]), Flags: be.Uint16(p[9:]), FSPFlags: be.Uint32(p[11:]),
		BlockSize: be.Uint32(p[15:]), Size: be.Uint64(p[19:]), Alloc: be.Uint64(p[27:]), FirstChunk: be.Uint32(p[35:]),
		LastChunk: be.Uint32(p[39:]), Name: string(p[fileSize:]),
	}
	return f, f.check()
}

func (d *DataHeader) encode(b *[DataOverhead]byte) {
	b[0], b[1] = byte(d.Stage), byte(d.Encoding)
	be.PutUint16(b[2:], d.Task)
	be.PutUint32(b[4:], d.File)
	be.PutUint32(b[8:], d.Chunk)
	be.PutUint32(b[12:], d.Block)
	be.PutUint64(b[16:], d.Offset)
	be.PutUint64(b[24:], d.FileSize)
	be.PutUint32(b[32:], d.RawLen)
	be.PutUint32(b[36:], 0)
}

func (d *DataHeader) check(n int) error {
	if n > MaxData {
		return fmt.Errorf("%d data bytes, at most %d are allowed", n, MaxData)
	}
	switch {
	case d.Encoding > Zstd:
		return fmt.Errorf("unknown encoding %d", d.Encoding)
	case d.Encoding == Plain && d.RawLen != 0, d.Encoding != Plain && (d.RawLen == 0 || d.RawLen > MaxData):
		return fmt.Errorf("%d bytes after unpacking with encoding %d", d.RawLen, d.Encoding)
	}
	if err := checkSizes(d.Offset, d.FileSize); err != nil {
		return err
	}
	return checkSizes(d.Offset + uint64(d.Len(n))) // no overflow: both are below 2^63
}

func decodeData(p []byte) (Data, error) {
	if be.Uint32(p[36:]) != 0 {
		return Data{}, fmt.Errorf("reserved bytes are not zero")
	}
	d := Data{
		DataHeader: DataHeader{
			Stage: Stage(p[0]), Encoding: Encoding(p[1]), Task: be.Uint16(p[2:]), File: be.Uint32(p[4:]), Chunk: be.Uint32(p[8:]),
			Block: be.Uint32(p[12:]), Offset: be.Uint64(p[16:]), FileSize: be.Uint64(p[24:]), RawLen: be.Uint32(p[32:]),
		},
		Bytes: p[DataOverhead:],
	}
	return d, d.check(len(d.Bytes))
}

func (s StageEnd) append(b []byte) []byte {
	b = append(b, byte(s.Stage))
	b = be.AppendUint64(b, s.DataBytes)
	return be.AppendUint64(b, s.DataFrames)
}

func decodeStageEnd(p []byte) StageEnd {
	return StageEnd{Stage: Stage(p[0]), DataBytes: be.Uint64(p[1:]), DataFrames: be.Uint64(p[9:])}
}

func (e End) append(b []byte) []byte {
	b = be.AppendUint64(b, e.Frames)
	b = be.AppendUint64(b, e.DataBytes)
	return be.AppendUint32(b, e.Chain)
}

func decodeEnd(p []byte) End {
	return End{Frames: be.Uint64(p), DataBytes: be.Uint64(p[8:]), Chain: be.Uint32(p[16:])}
}

// checkSizes keeps everything that becomes an int64 below 2^63.
func checkSizes(sizes ...uint64) error {
	for _, n := range sizes {
		if n > math.MaxInt64 {
			return fmt.Errorf("size or offset %d is too large", n)
		}
	}
	return nil
}
