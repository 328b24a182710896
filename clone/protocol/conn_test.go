package protocol

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// message frames a response as the server does.
func message(typ byte, payload []byte) []byte {
	n := len(payload) + 1
	return append([]byte{byte(n), byte(n >> 8), byte(n >> 16), 0, typ}, payload...)
}

func reader(b []byte) *conn {
	return &conn{r: bufio.NewReaderSize(iotest.OneByteReader(bytes.NewReader(b)), readBuffer)}
}

func TestDataFollowsItsDescriptor(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789abcdef"), 1<<16/16)
	desc := dataMeta{Data{State: StateFileCopy, Chunk: 1, Block: 1, FileSize: 1 << 16}, uint32(len(payload))}
	stream := message(respDesc, append([]byte{engineInnoDB, 0}, desc.encode()...))
	stream = append(stream, message(respData, payload)...)

	receive := func(b []byte) ([]byte, error) {
		c := reader(b)
		m, err := c.next("test")
		if err != nil {
			return nil, err
		}
		return c.data("test", int(m.(dataMeta).length))
	}
	got, err := receive(stream)
	if err != nil || !bytes.Equal(got, payload) {
		t.Fatalf("received %d bytes, %v, want %d", len(got), err, len(payload))
	}
	for n := 0; n < len(stream); n += 1 + n/100 {
		if _, err := receive(stream[:n]); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d bytes: %v, want an end of file", n, err)
		}
	}

	c := reader(message(respError, []byte("\x25\x05\x00\x00interrupted")))
	var failed *DonorError
	if _, err := c.data("test", 1<<20); !errors.As(err, &failed) || !errors.Is(err, ErrInterrupted) {
		t.Errorf("error instead of data: %v, want a DonorError that is ErrInterrupted", err)
	}
	for name, b := range map[string][]byte{
		"short":     message(respData, payload[:99]),
		"long":      message(respData, payload[:101]),
		"other":     message(respComplete, nil),
		"empty":     {0, 0, 0, 0},
		"too large": {0xff, 0xff, 0xff, 0},
	} {
		if _, err := reader(b).data("test", 100); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s message instead of 100 bytes of data: %v, want ErrProtocol", name, err)
		}
	}
}

// A donor's length is not believed beyond what a message can be.
func TestLongControlMessage(t *testing.T) {
	if _, err := reader([]byte{1, 0, 0x10, 0, respConfig}).next("test"); !errors.Is(err, ErrProtocol) {
		t.Errorf("next = %v, want ErrProtocol", err)
	}
}

func TestDonorErrors(t *testing.T) {
	for code, want := range map[int32]error{
		3634: ErrCloneInProgress, 1317: ErrInterrupted, 1815: ErrSnapshotGone, 1227: ErrDenied, 1524: ErrNoPlugin, 3872: ErrEncrypted,
	} {
		if err := error(&DonorError{Op: "init", Code: code}); !errors.Is(err, want) {
			t.Errorf("error %d is not %v", code, want)
		}
	}
	const busy = "Internal error: Clone restart wait for idle state timed out"
	if err := error(&DonorError{Op: opReinit, Code: 1815, Message: busy}); !errors.Is(err, ErrStillActive) || errors.Is(err, ErrSnapshotGone) {
		t.Errorf("%v: want ErrStillActive and nothing else", err)
	}
	if err := error(&EncryptedError{Name: "./a/b.ibd"}); !errors.Is(err, ErrEncrypted) {
		t.Errorf("%v is not ErrEncrypted", err)
	}
}
