package protocol

import (
	"context"
	"fmt"
)

// State is a step of a clone. The donor goes through them in order.
type State uint32

// The states. Data arrives in the three in the middle only.
const (
	StateInit     State = 1 // snapshot being made
	StateFileCopy State = 2 // whole files, fuzzy: pages may be torn or old
	StatePageCopy State = 3 // pages changed since the clone began; they overwrite
	StateRedoCopy State = 4 // the redo log that makes the pages consistent
	StateDone     State = 5
)

// String returns the server's name of the state.
func (s State) String() string {
	switch s {
	case StateInit:
		return "INIT"
	case StateFileCopy:
		return "FILE_COPY"
	case StatePageCopy:
		return "PAGE_COPY"
	case StateRedoCopy:
		return "REDO_COPY"
	case StateDone:
		return "DONE"
	}
	return fmt.Sprintf("state %d", uint32(s))
}

// A Sink receives a snapshot. [Session.Run] calls it for FILE_COPY, PAGE_COPY and
// REDO_COPY, in this order; for each:
//
//	File…       PAGE_COPY and REDO_COPY: what DDL did to data files in the stage before (FileMeta.State is the coming one)
//	StageStart
//	File, Data… files are announced before the first Data that names them
//	StageEnd
//
// Run returning nil is the end of the snapshot; there is no other mark. A session that was resumed begins in the middle: see
// [Resume].
//
// StageStart and StageEnd are called alone: no other call is under way. File calls
// never overlap one another, but a File may overlap with Data. Data calls overlap:
// up to one per connection. An error from any method ends the session, and Run returns
// it. The context ends when the session fails or is cancelled; a method that
// blocks must return then.
type Sink interface {
	// StageStart opens a stage. All File calls with FileMeta.State equal to the
	// coming stage that were made before it form one batch of DDL changes, in index order
	// rather than in the order they happened: names may collide within the batch.
	StageStart(ctx context.Context, stage Stage) error

	// File announces a file, or a change of one that is known. Indexes are dense:
	// a new data file has the index one above the highest so far.
	//
	// After StageStart(FILE_COPY): every data file, before any Data.
	//
	// Between StageEnd and the next StageStart: a data file created, renamed or
	// deleted, or whose attributes changed; a file that is new and also deleted only
	// takes its index.
	//
	// Within a stage, with Deleted: the data file vanished on the donor, any Data for it
	// is to be dropped. FirstChunk is then the chunk and LastChunk is 0. It may be said
	// more than once, and again in the next batch.
	//
	// After StageStart(REDO_COPY), with Redo: a redo file, in an index space of its own.
	// The donor repeats these; File is called once per index unless the size grew.
	File(ctx context.Context, file FileMeta) error

	// Data hands over bytes of a file. The payload, 1 byte to MaxData, is valid
	// only during the call. Within a stage regions do not overlap; between
	// stages later ones win. In REDO_COPY, d.File means a redo file.
	Data(ctx context.Context, d Data, payload []byte) error

	// StageEnd closes a stage after every connection has handed over its data. The
	// donor learns that the stage is received only when it returns nil, and never sends
	// any of it again: return when the data is as safe as it has to be. The donor
	// gives up after 30 minutes. It gets the Stage that StageStart got.
	StageEnd(ctx context.Context, stage Stage) error
}

// MaxData is the largest payload that a Sink is given, in bytes. Donors send blocks of
// 1 MiB with 16 KiB pages; the limit is for 64 pages of 64 KiB.
const MaxData = 4 << 20

// A Stage is one of the three copying states with what the donor expects to send.
type Stage struct {
	State     State  `json:"state"`
	Chunks    uint32 `json:"chunks"`     // chunks are numbered from 1 in each stage
	Files     uint32 `json:"files"`      // files; in PAGE_COPY the number of pages
	Bytes     uint64 `json:"bytes"`      // estimate of the bytes to come
	DiskBytes uint64 `json:"disk_bytes"` // estimate of the bytes they take on disk
}

// Special tablespace ids.
const (
	SpaceSystem     uint32 = 0
	SpaceDictionary uint32 = 0xFFFFFFFE // mysql.ibd
	SpaceRedo       uint32 = 0xFFFFFFF0 // a redo log file
	SpaceNone       uint32 = 0xFFFFFFFF // not a tablespace: ib_buffer_pool
)

// NoFSPFlags in FileMeta.FSPFlags: the file is not a tablespace.
const NoFSPFlags uint32 = 0xFFFFFFFF

// FileFlags say what is special about a file. They are the donor's, unchanged.
type FileFlags uint16

// The flags. Encrypted and KeyAppended never reach a Sink: they end the session with
// ErrEncrypted.
const (
	FileZlib        FileFlags = 1  // transparent page compression
	FileLZ4         FileFlags = 2  // transparent page compression
	FileEncrypted   FileFlags = 4  // tablespace encryption
	FileRenamed     FileFlags = 8  // Name is the new name
	FileDeleted     FileFlags = 16 // the file is gone on the donor
	FileKeyAppended FileFlags = 32 // the tablespace key follows in clear
)

// A FileMeta describes a file of the snapshot.
type FileMeta struct {
	State      State
	Index      uint32 // identity of the file; data and redo files count separately
	SpaceID    uint32
	FSPFlags   uint32 // flags of the tablespace as in its page 0, or NoFSPFlags
	Flags      FileFlags
	BlockSize  uint32 // of the donor's file system, in bytes; 0 if unknown
	Size       uint64 // in bytes; of a redo file: the final size
	AllocSize  uint64 // bytes allocated on the donor: less than Size when sparse
	FirstChunk uint32 // chunks of the file in FILE_COPY, from 1
	LastChunk  uint32

	// Name is what the donor sent, at most 4095 bytes without a NUL byte, in the server's
	// encoding of file names: "./shop/order@002dlines.ibd", "mysql.ibd",
	// "undo_001", or an absolute path for a tablespace outside the data directory.
	// Empty for redo files only. Nothing else is promised: it may try to climb out
	// of a directory.
	Name string
}

// Redo reports whether the file is a redo log file; Index then counts from 0 by itself
// and the number in the file's name is the index.
func (f FileMeta) Redo() bool { return f.SpaceID == SpaceRedo }

// Deleted reports whether the file is gone on the donor.
func (f FileMeta) Deleted() bool { return f.Flags&FileDeleted != 0 }

// Renamed reports whether Name is a new name of a known file.
func (f FileMeta) Renamed() bool { return f.Flags&FileRenamed != 0 }

// PageCompressed reports whether the donor keeps the file sparse by transparent page
// compression. Its pages arrive padded to their full size.
func (f FileMeta) PageCompressed() bool { return f.Flags&(FileZlib|FileLZ4) != 0 }

// A Data says where a payload belongs.
type Data struct {
	State  State
	Task   uint32 // 0 for the main connection, workers from 1
	Chunk  uint32 // from 1 in each stage
	Block  uint32 // blocks of this chunk sent so far, with this one and, in PAGE_COPY, pages left out because their file vanished
	File   uint32 // FileMeta.Index of a data file; in REDO_COPY of a redo file
	Offset uint64 // in the file, bytes
	// FileSize in bytes is larger than known if the file grew (PAGE_COPY, offset 0). A page of a file that has just grown may lie
	// beyond it, all the same: page 0, from which the donor knows the size, may not have been written yet. Of a redo file
	// it is not the size, see FileMeta.Size.
	FileSize uint64
}
