package stream_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ordinal/stream"
)

// Only a new version of the format gets new files; the old ones stay as they are for ever.
var update = flag.Bool("update", false, "write testdata/v2-*.bin")

// samples holds one stream per file in testdata.
var samples = map[string]func(w *stream.Writer) error{
	// As short as a complete stream can be.
	"v2-minimal.bin": func(w *stream.Writer) error {
		return first(
			w.Hello(stream.Hello{}),
			w.StageStart(stream.StageStart{Stage: stream.StageFileCopy}), end(w, stream.StageFileCopy),
			w.StageStart(stream.StageStart{Stage: stream.StagePageCopy}), end(w, stream.StagePageCopy),
			w.StageStart(stream.StageStart{Stage: stream.StageRedoCopy}), end(w, stream.StageRedoCopy),
			w.End(),
		)
	},
	// Every kind but Abort, every stage, DDL batches, extreme values, a name that is not UTF-8, Data without bytes.
	"v2-full.bin": func(w *stream.Writer) error {
		table := stream.File{
			Stage: stream.StageFileCopy, Index: 1, SpaceID: 7, Flags: stream.FlagZlib, FSPFlags: 0x4021, BlockSize: 4096, Size: 114688, Alloc: 65536,
			FirstChunk: 1, LastChunk: 1, Name: "./shop/orders@002d\xff.ibd",
		}
		renamed := table
		renamed.Stage, renamed.Flags, renamed.Name = stream.StagePageCopy, stream.FlagRenamed, "./shop/old.ibd"
		return first(
			w.Hello(stream.Hello{
				SessionID: "s-1", DonorPod: "mysql-0", ClusterID: "c0ffee", ServerVersion: "9.7.4", PageSize: 16384, EstimatedBytes: 123456789,
				Warnings: []string{"table `shop`.`log` is MyISAM: its rows are not copied"}, Parameters: map[string]string{"version_compile_os": "Linux", "a": "b"},
				Plugins: []stream.Plugin{{Name: "clone", SharedObject: "mysql_clone.so"}, {Name: "binlog"}}, Collations: []string{"utf8mb4_0900_ai_ci"},
			}),
			w.StageStart(stream.StageStart{Stage: stream.StageInit}),
			w.Heartbeat(),
			end(w, stream.StageInit),
			w.StageStart(stream.StageStart{Stage: stream.StageFileCopy, Chunks: 3, Files: 2, Bytes: 1 << 40, DiskBytes: math.MaxInt64}),
			w.File(stream.File{Stage: stream.StageFileCopy, FSPFlags: math.MaxUint32, SpaceID: math.MaxUint32, Name: "ib_buffer_pool"}),
			w.File(table),
			w.Data(stream.DataHeader{Stage: stream.StageFileCopy, File: 1, Chunk: 1, Block: 1, FileSize: 114688}, []byte("page 0")),
			w.Data(stream.DataHeader{Stage: stream.StageFileCopy, File: 1, Chunk: 2, Block: 1, Offset: 16384, FileSize: 114688}, nil),
			w.Heartbeat(),
			end(w, stream.StageFileCopy),
			w.File(renamed),
			w.StageStart(stream.StageStart{Stage: stream.StagePageCopy, Chunks: 1, Files: 1}),
			w.Data(stream.DataHeader{Stage: stream.StagePageCopy, File: 1, Chunk: 1, Block: 1, FileSize: 131072}, []byte("page 0, newer")),
			end(w, stream.StagePageCopy),
			w.StageStart(stream.StageStart{Stage: stream.StageRedoCopy, Chunks: 2, Files: 1, Bytes: 8}),
			w.File(stream.File{Stage: stream.StageRedoCopy, SpaceID: 0xFFFFFFF0, Size: 1 << 20}),
			w.Data(stream.DataHeader{Stage: stream.StageRedoCopy, Chunk: 1, Block: 1, Offset: math.MaxInt64 - 4, FileSize: math.MaxInt64}, []byte("redo")),
			end(w, stream.StageRedoCopy),
			w.StageStart(stream.StageStart{Stage: stream.StageDone}), end(w, stream.StageDone),
			w.End(),
		)
	},
	"v2-aborted.bin": func(w *stream.Writer) error {
		return first(
			w.Hello(stream.Hello{SessionID: "s-2"}),
			w.StageStart(stream.StageStart{Stage: stream.StageFileCopy}),
			w.Abort("donor_restarted", "mysqld was stopped (1317)"),
		)
	},
	// A lane beside the main one: nothing but Data, packed or not, by two tasks.
	"v2-lane.bin": func(w *stream.Writer) error {
		return first(
			w.Hello(stream.Hello{SessionID: "s-1", Attempt: 3, Lane: 2, Lanes: 4}),
			w.Data(stream.DataHeader{Stage: stream.StageFileCopy, Task: 2, File: 1, Chunk: 9, Block: 64, Offset: 1 << 26, FileSize: 1 << 30}, []byte("plain")),
			w.Heartbeat(),
			w.Data(stream.DataHeader{
				Stage: stream.StageFileCopy, Encoding: stream.Zstd, RawLen: 1 << 20, Task: math.MaxUint16, File: 1, Chunk: 10, Block: 1, Offset: 1 << 27, FileSize: 1 << 30,
			}, []byte("packed")),
			w.End(),
		)
	},
	// Resumed in the middle of PAGE_COPY.
	"v2-resumed.bin": func(w *stream.Writer) error {
		return first(
			w.Hello(stream.Hello{SessionID: "s-1", Attempt: 2, Lanes: 1, Resumes: stream.StagePageCopy}),
			w.Data(stream.DataHeader{Stage: stream.StagePageCopy, File: 1, Chunk: 1, Block: 7, FileSize: 131072}, []byte("page 7")),
			end(w, stream.StagePageCopy),
			w.StageStart(stream.StageStart{Stage: stream.StageRedoCopy}), end(w, stream.StageRedoCopy),
			w.End(),
		)
	},
	// Resumed after FILE_COPY: DDL's batch comes again.
	"v2-resumed-ended.bin": func(w *stream.Writer) error {
		return first(
			w.Hello(stream.Hello{SessionID: "s-1", Attempt: 2, Lanes: 1, Resumes: stream.StageFileCopy, ResumesEnded: true}),
			w.File(stream.File{Stage: stream.StagePageCopy, Index: 1, Flags: stream.FlagDeleted, Name: "./shop/old.ibd"}),
			w.StageStart(stream.StageStart{Stage: stream.StagePageCopy}), end(w, stream.StagePageCopy),
			w.StageStart(stream.StageStart{Stage: stream.StageRedoCopy}), end(w, stream.StageRedoCopy),
			w.End(),
		)
	},
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func end(w *stream.Writer, s stream.Stage) error {
	_, err := w.StageEnd(s)
	return err
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := samples[name](stream.NewWriter(&b)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b.Bytes()
}

// readAll reads until an error, which is nil for a complete stream. It checks that the error stays.
func readAll(t testing.TB, r io.Reader) ([]stream.Frame, error) {
	t.Helper()
	sr := stream.NewReader(r)
	var frames []stream.Frame
	for {
		f, err := sr.Next(nil)
		if err != nil {
			if _, again := sr.Next(nil); again != err {
				t.Fatalf("Next() = %v after the error %v, want the same error", again, err)
			}
			if err == io.EOF {
				if n := len(frames); n == 0 || frames[n-1].Kind != stream.KindEnd {
					t.Fatalf("io.EOF after %d frames without an End frame", n)
				}
				return frames, nil
			}
			return frames, err
		}
		frames = append(frames, f)
	}
}

// rewrite writes frames as they were read.
func rewrite(w *stream.Writer, frames []stream.Frame) error {
	for _, f := range frames {
		var err error
		switch f.Kind {
		case stream.KindHello:
			err = w.Hello(*f.Hello)
		case stream.KindStageStart:
			err = w.StageStart(f.StageStart)
		case stream.KindFile:
			err = w.File(f.File)
		case stream.KindData:
			err = w.Data(f.Data.DataHeader, f.Data.Bytes)
		case stream.KindStageEnd:
			err = end(w, f.StageEnd.Stage)
		case stream.KindHeartbeat:
			err = w.Heartbeat()
		case stream.KindEnd:
			err = w.End()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func TestGolden(t *testing.T) {
	for name := range samples {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, sample(t, name), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := sample(t, name); !bytes.Equal(got, want) {
				t.Errorf("the Writer writes another stream than %s holds:\n%q\nwant\n%q", path, got, want)
			}
			frames, err := readAll(t, bytes.NewReader(want))
			var b bytes.Buffer
			w := stream.NewWriter(&b)
			if err2 := rewrite(w, frames); err2 != nil {
				t.Fatal(err2)
			}
			if abort := (*stream.AbortError)(nil); errors.As(err, &abort) {
				err = w.Abort(abort.Reason, abort.Message)
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Bytes(), want) {
				t.Errorf("read and written again:\n%q\nwant\n%q", b.Bytes(), want)
			}
		})
	}
}

// What is in the file is compared with literals here, so that Reader and Writer cannot agree on something wrong.
func TestGoldenContent(t *testing.T) {
	data, err := os.ReadFile("testdata/v2-full.bin")
	if err != nil {
		t.Fatal(err)
	}
	frames, err := readAll(t, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	kinds := ""
	for i, f := range frames {
		kinds += fmt.Sprint(int(f.Kind))
		if f.Seq != uint64(i) {
			t.Errorf("frame %d has Seq %d", i, f.Seq)
		}
	}
	if want := "1265233446532452345258"; kinds != want {
		t.Errorf("kinds %s, want %s", kinds, want)
	}
	h := frames[0].Hello
	if h.FormatVersion != 2 || h.DonorPod != "mysql-0" || h.PageSize != 16384 || h.Parameters["version_compile_os"] != "Linux" || h.Plugins[0].SharedObject != "mysql_clone.so" {
		t.Errorf("Hello = %+v", h)
	}
	wantFile := stream.File{
		Stage: 2, Index: 1, SpaceID: 7, Flags: 1, FSPFlags: 0x4021, BlockSize: 4096, Size: 114688, Alloc: 65536, FirstChunk: 1, LastChunk: 1,
		Name: "./shop/orders@002d\xff.ibd",
	}
	if diff := cmp.Diff(wantFile, frames[6].File); diff != "" {
		t.Errorf("File (-want +got):\n%s", diff)
	}
	wantData := stream.Data{DataHeader: stream.DataHeader{Stage: 2, File: 1, Chunk: 1, Block: 1, FileSize: 114688}, Bytes: []byte("page 0")}
	if diff := cmp.Diff(wantData, frames[7].Data); diff != "" {
		t.Errorf("Data (-want +got):\n%s", diff)
	}
	if got, want := frames[10].StageEnd, (stream.StageEnd{Stage: 2, DataBytes: 6, DataFrames: 2}); got != want {
		t.Errorf("StageEnd = %+v, want %+v", got, want)
	}
	last := frames[len(frames)-1]
	if last.End.Frames != 21 || last.End.DataBytes != 23 || last.Offset != int64(len(data))-24-20 {
		t.Errorf("End = %+v at %d", last.End, last.Offset)
	}
}

// raw is a frame as bytes, for streams that no Writer would write.
type raw struct {
	kind    byte
	payload []byte
}

// split takes a good stream apart.
func split(t testing.TB, data []byte) []raw {
	t.Helper()
	var out []raw
	for data = data[8:]; len(data) > 0; {
		n := 24 + int(be32(data[4:]))
		out = append(out, raw{data[0], bytes.Clone(data[24:n])})
		data = data[n:]
	}
	return out
}

// join numbers and seals frames, as an attacker would. An End frame of 20 bytes gets the right frame count and chain.
func join(frames []raw) []byte {
	out := append([]byte("ORDSTR"), 0, 2)
	var chain uint32
	for i, f := range frames {
		payload := f.payload
		if f.kind == byte(stream.KindEnd) && len(payload) == 20 {
			payload = append(put64(nil, uint64(i)), payload[8:16]...)
			payload = put32(payload, chain)
		}
		head := append([]byte{f.kind, 0, 0, 0}, put32(nil, uint32(len(payload)))...)
		head = put64(head, uint64(i))
		head = seal(put32(head, crc(payload)))
		chain = crc32.Update(chain, castagnoli, head[20:])
		out = append(append(out, head...), payload...)
	}
	return out
}

// seal appends the header checksum to the 20 bytes of head.
func seal(head []byte) []byte { return put32(head[:20:20], crc(head[:20])) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crc(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func be32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func put32(b []byte, v uint32) []byte {
	return append(b, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

func put64(b []byte, v uint64) []byte { return put32(put32(b, uint32(v>>32)), uint32(v)) }
