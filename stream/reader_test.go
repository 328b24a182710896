package stream_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"ordinal/stream"
)

func TestReadThroughOddReaders(t *testing.T) {
	data := sample(t, "v2-full.bin")
	for name, r := range map[string]io.Reader{
		"one byte at a time": iotest.OneByteReader(bytes.NewReader(data)),
		"halves":             iotest.HalfReader(bytes.NewReader(data)),
		"data with EOF":      iotest.DataErrReader(bytes.NewReader(data)),
	} {
		if frames, err := readAll(t, r); err != nil || len(frames) != 22 {
			t.Errorf("%s: %d frames, %v", name, len(frames), err)
		}
	}
	broken := errors.New("connection reset")
	for _, n := range []int{0, 5, 8, 20, 100, len(data) - 1, len(data)} {
		_, err := readAll(t, io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) {
			t.Errorf("broken after %d bytes: %v, want the reader's error", n, err)
		}
	}
}

func TestTruncatedAtEveryByte(t *testing.T) {
	data := sample(t, "v2-full.bin")
	for n := range data {
		_, err := readAll(t, bytes.NewReader(data[:n]))
		if !errors.Is(err, stream.ErrTruncated) || !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, stream.ErrCorrupt) {
			t.Fatalf("cut after %d of %d bytes: %v, want ErrTruncated", n, len(data), err)
		}
		// An HTTP body that is cut says so itself; that is the same to a caller.
		_, err = readAll(t, io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(io.ErrUnexpectedEOF)))
		if !errors.Is(err, stream.ErrTruncated) {
			t.Fatalf("broken after %d of %d bytes: %v, want ErrTruncated", n, len(data), err)
		}
	}
	if _, err := readAll(t, io.MultiReader(bytes.NewReader(data), iotest.ErrReader(io.ErrUnexpectedEOF))); err == nil {
		t.Fatal("a body that breaks after the end frame was taken for complete")
	}
}

func TestEveryBitFlipped(t *testing.T) {
	for name := range samples {
		data := sample(t, name)
		for i := range data {
			for bit := range 8 {
				data[i] ^= 1 << bit
				_, err := readAll(t, bytes.NewReader(data))
				data[i] ^= 1 << bit
				want := stream.ErrCorrupt
				if i == 6 || i == 7 {
					want = stream.ErrVersion
				}
				if !errors.Is(err, want) {
					t.Fatalf("%s with bit %d of byte %d flipped: %v, want %v", name, bit, i, err, want)
				}
			}
		}
	}
}

func TestFramesMovedDroppedRepeated(t *testing.T) {
	data := sample(t, "v2-full.bin")
	var frames [][]byte
	for rest := data[8:]; len(rest) > 0; {
		n := 24 + int(be32(rest[4:]))
		frames = append(frames, rest[:n])
		rest = rest[n:]
	}
	refused := func(what string, i int, frames [][]byte) { // i is the first frame that is not what it should be
		t.Helper()
		_, err := readAll(t, bytes.NewReader(append(data[:8:8], bytes.Join(frames, nil)...)))
		var corrupt *stream.CorruptError
		if !errors.As(err, &corrupt) && !errors.Is(err, stream.ErrTruncated) {
			t.Errorf("frame %d %s: %v", i, what, err)
		}
		if corrupt != nil && (corrupt.Frame != uint64(i) || corrupt.Offset < 8) {
			t.Errorf("frame %d %s: reported as frame %d at byte %d", i, what, corrupt.Frame, corrupt.Offset)
		}
	}
	for i := range frames {
		refused("dropped", i, slices.Delete(slices.Clone(frames), i, i+1))
		refused("repeated", min(i+1, len(frames)-1), slices.Insert(slices.Clone(frames), i, frames[i]))
		if i > 0 {
			swapped := slices.Clone(frames)
			swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
			refused("swapped", i-1, swapped)
		}
	}
	other := sample(t, "v2-minimal.bin")
	if _, err := readAll(t, bytes.NewReader(append(data[:len(data)-44:len(data)-44], other[len(other)-44:]...))); !errors.Is(err, stream.ErrCorrupt) {
		t.Errorf("the end frame of another stream: %v", err)
	}
}

// Checksums and numbers are right here, as whoever holds a pen can make them: the content is what must be refused.
func TestForged(t *testing.T) {
	good := split(t, sample(t, "v2-full.bin"))
	if _, err := readAll(t, bytes.NewReader(join(good))); err != nil {
		t.Fatalf("the stream taken apart and joined: %v", err)
	}
	file := good[6]
	if file.kind != byte(stream.KindFile) {
		t.Fatalf("frame 6 is of kind %d", file.kind)
	}
	with := func(i int, kind byte, payload []byte) []raw { // replaced
		frames := slices.Clone(good)
		frames[i] = raw{kind, payload}
		return frames
	}
	changed := func(i, at int, b ...byte) []raw { // some bytes of the payload replaced
		p := bytes.Clone(good[i].payload)
		copy(p[at:], b)
		return with(i, good[i].kind, p)
	}
	without := func(from, to int) []raw { return slices.Delete(slices.Clone(good), from, to) }
	plus := func(i int, f ...raw) []raw { return slices.Insert(slices.Clone(good), i, f...) }
	last := len(good) - 1
	heartbeat := raw{byte(stream.KindHeartbeat), nil}
	huge := []byte{0x80, 0, 0, 0, 0, 0, 0, 0}

	for name, tt := range map[string]struct {
		frames []raw
		want   string
	}{
		"unknown kind":            {plus(3, raw{9, nil}), "unknown kind 9"},
		"kind 0":                  {plus(3, raw{0, nil}), "unknown kind 0"},
		"no Hello":                {good[1:], "before Hello"},
		"heartbeat first":         {plus(0, heartbeat), "before Hello"},
		"two Hellos":              {plus(1, good[0]), "second Hello"},
		"Hello is not JSON":       {with(0, 1, []byte("{]")), "Hello"},
		"Hello is null":           {with(0, 1, []byte("null")), "format_version"},
		"Hello of version 3":      {with(0, 1, []byte(`{"format_version":3}`)), "format_version"},
		"Hello of no lane":        {with(0, 1, []byte(`{"format_version":2,"lane":2,"lanes":2}`)), "lane 2 of 2"},
		"Hello resumes nothing":   {with(0, 1, []byte(`{"format_version":2,"resumes_ended":true}`)), "resumes"},
		"Hello resumes INIT":      {with(0, 1, []byte(`{"format_version":2,"resumes":1}`)), "resumes INIT"},
		"a lane with a stage":     {with(0, 1, []byte(`{"format_version":2,"lane":1,"lanes":2}`)), "Data only"},
		"Hello too long":          {with(0, 1, append([]byte("{}"), bytes.Repeat([]byte(" "), 1<<20)...)), "Hello frame with"},
		"Abort is not JSON":       {with(2, 7, []byte("no")), "Abort"},
		"heartbeat with payload":  {with(2, 6, []byte{1}), "Heartbeat frame with 1 bytes"},
		"StageStart too short":    {with(1, 2, make([]byte, 24)), "StageStart frame with"},
		"StageStart too long":     {with(1, 2, make([]byte, 26)), "StageStart frame with"},
		"stage 0":                 {changed(1, 0, 0), "stage 0"},
		"stage 6":                 {changed(1, 0, 6), "stage 6"},
		"stage started twice":     {plus(2, good[1]), "start of INIT within INIT"},
		"stage repeated":          {plus(4, good[1], good[3]), "start of INIT after INIT"},
		"FILE_COPY left out":      {without(4, 11), "PAGE_COPY after INIT"},
		"PAGE_COPY left out":      {without(11, 15), "start of REDO_COPY after FILE_COPY"},
		"estimate too large":      {changed(4, 9, huge...), "too large"},
		"another stage's end":     {changed(3, 0, 2), "end of FILE_COPY within INIT"},
		"end of stage 0":          {plus(4, raw{5, make([]byte, 17)}), "end of stage 0"},
		"wrong bytes of a stage":  {changed(10, 8, 7), "it says"},
		"wrong frames of a stage": {changed(10, 16, 1), "it says"},
		"File of no stage":        {changed(6, 0, 0), "File of stage 0"},
		"File of a past stage":    {plus(12, file), "File of FILE_COPY after FILE_COPY"},
		"File of INIT":            {plus(2, raw{3, append([]byte{1}, file.payload[1:]...)}), "File of INIT"},
		"File of a later stage":   {changed(11, 0, 4), "File of REDO_COPY after FILE_COPY"},
		"name with NUL":           {with(6, 3, append(bytes.Clone(file.payload), 0)), "NUL"},
		"name too long":           {with(6, 3, append(bytes.Clone(file.payload), make([]byte, 4096)...)), "File frame with"},
		"file too large":          {changed(6, 19, huge...), "too large"},
		"alloc too large":         {changed(6, 27, huge...), "too large"},
		"Data of another stage":   {changed(7, 0, 3), "Data of PAGE_COPY within FILE_COPY"},
		"Data of INIT":            {plus(2, raw{4, append([]byte{1}, make([]byte, 39)...)}), "Data of INIT"},
		"Data between stages":     {plus(11, good[7]), "Data of FILE_COPY after FILE_COPY"},
		"Data before its stage":   {plus(12, good[13]), "Data of PAGE_COPY after FILE_COPY"},
		"Data reserved bytes":     {changed(7, 39, 1), "reserved"},
		"Data packed unknown":     {changed(7, 1, 9), "encoding 9"},
		"Data packed to nothing":  {changed(7, 1, 1), "0 bytes after unpacking"},
		"Data unpacked with size": {changed(7, 32, 1), "after unpacking with encoding 0"},
		"Data offset too large":   {changed(7, 16, huge...), "too large"},
		"Data ends too far":       {changed(7, 16, 0x7f, 255, 255, 255, 255, 255, 255, 255), "too large"},
		"Data file too large":     {changed(7, 24, huge...), "too large"},
		"Data too short":          {with(7, 4, make([]byte, 31)), "Data frame with 31"},
		"End too early":           {slices.Concat(good[:15], good[last:]), "End after PAGE_COPY"},
		"End within a stage":      {slices.Concat(good[:6], good[last:]), "End within FILE_COPY"},
		"End right after Hello":   {slices.Concat(good[:1], good[last:]), "End after Hello"},
		"End within DONE":         {without(last-1, last), "End within DONE"},
		"wrong total":             {changed(last, 15, 1), "it says"},
		"frame after End":         {append(slices.Clone(good), heartbeat), "data follows the end frame"},
		"second End":              {append(slices.Clone(good), good[last]), "data follows the end frame"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readAll(t, bytes.NewReader(join(tt.frames)))
			if !errors.Is(err, stream.ErrCorrupt) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want a CorruptError with %q", err, tt.want)
			}
		})
	}
}

func TestAfterTheEnd(t *testing.T) {
	data := sample(t, "v2-full.bin")
	for _, tail := range [][]byte{{0}, []byte("\n"), data} {
		if _, err := readAll(t, bytes.NewReader(append(data[:len(data):len(data)], tail...))); !errors.Is(err, stream.ErrCorrupt) {
			t.Errorf("%d bytes after the end: %v, want ErrCorrupt", len(tail), err)
		}
	}
	// The counts and the chain of the End frame, sealed again.
	for at := range 20 {
		changed := bytes.Clone(data)
		frame := changed[len(changed)-44:]
		frame[24+at] ^= 1
		copy(frame, seal(put32(frame[:16:16], crc(frame[24:]))))
		if _, err := readAll(t, bytes.NewReader(changed)); !errors.Is(err, stream.ErrCorrupt) {
			t.Errorf("End with byte %d changed: %v, want ErrCorrupt", at, err)
		}
	}
}

func TestReservedBytesOfTheHeader(t *testing.T) {
	data := sample(t, "v2-minimal.bin")
	for at := 1; at <= 3; at++ {
		changed := bytes.Clone(data)
		changed[8+at] = 1
		copy(changed[8:], seal(changed[8:28]))
		var corrupt *stream.CorruptError
		if _, err := readAll(t, bytes.NewReader(changed)); !errors.As(err, &corrupt) || corrupt.Frame != 0 {
			t.Errorf("header byte %d is 1: %v, want a CorruptError in frame 0", at, err)
		}
	}
}

func TestNotAStream(t *testing.T) {
	for in, want := range map[string]error{
		"":                              stream.ErrTruncated,
		"ORDSTR\x00":                    stream.ErrTruncated,
		"HTTP/1.1 500":                  stream.ErrCorrupt,
		"ORDSTR\x00\x03":                stream.ErrVersion,
		"ORDSTR\x00\x01":                stream.ErrVersion,
		"ORDSTR\x00\x02":                stream.ErrTruncated,
		"ORDSTR\x00\x02 internal error": stream.ErrTruncated,
	} {
		if _, err := readAll(t, strings.NewReader(in)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", in, err, want)
		}
	}
}

func TestAborted(t *testing.T) {
	frames, err := readAll(t, bytes.NewReader(sample(t, "v2-aborted.bin")))
	var abort *stream.AbortError
	if !errors.As(err, &abort) || abort.Reason != "donor_restarted" || len(frames) != 2 {
		t.Fatalf("%d frames, %v, want the AbortError after 2", len(frames), err)
	}
	if errors.Is(err, stream.ErrCorrupt) {
		t.Error("an abort is not a corrupt stream")
	}
}

// endless says that there is always more.
type endless struct{ head []byte }

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.head)
	e.head = e.head[n:]
	if n == 0 {
		n = len(p)
	}
	return n, nil
}

// A header may claim what it wants; memory and reading stay bounded.
func TestHostileLengths(t *testing.T) {
	for kind := range 256 {
		for _, length := range []uint32{stream.MaxFrame, stream.MaxFrame + 1, 1 << 30, 1<<32 - 1} {
			head := append([]byte("ORDSTR\x00\x02"), seal(append(append([]byte{byte(kind), 0, 0, 0}, put32(nil, length)...), make([]byte, 12)...))...)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := stream.NewReader(&endless{head}).Next(nil)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, stream.ErrCorrupt) {
				t.Fatalf("kind %d, length %d: %v, want ErrCorrupt", kind, length, err)
			}
			limit := uint64(64 << 10)
			if kind == int(stream.KindData) && length == stream.MaxFrame {
				limit += stream.MaxFrame // a legal length: one payload, no more
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > limit {
				t.Fatalf("kind %d, length %d: %d bytes allocated, want at most %d", kind, length, got, limit)
			}
		}
	}
}

func TestBufferIsUsedAndAliased(t *testing.T) {
	var b bytes.Buffer
	w := stream.NewWriter(&b)
	payload := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if err := first(w.Hello(stream.Hello{}), w.StageStart(stream.StageStart{Stage: stream.StageFileCopy}),
		w.File(stream.File{Stage: stream.StageFileCopy, Name: "x.ibd"}),
		w.Data(stream.DataHeader{Stage: stream.StageFileCopy}, payload)); err != nil {
		t.Fatal(err)
	}
	r := stream.NewReader(&b)
	buf := make([]byte, stream.MaxFrame)
	var file, data stream.Frame
	for _, f := range []*stream.Frame{{}, {}, &file, &data} {
		var err error
		if *f, err = r.Next(buf); err != nil {
			t.Fatal(err)
		}
	}
	if &data.Data.Bytes[0] != &buf[stream.DataOverhead] || !bytes.Equal(data.Data.Bytes, payload) || cap(data.Data.Bytes) != len(payload) {
		t.Error("Data.Bytes is not the data at buf[DataOverhead:], and only that")
	}
	if file.File.Name != "x.ibd" {
		t.Errorf("File.Name = %q after its buffer was reused", file.File.Name)
	}
}
