package protocol

import (
	"encoding/binary"
	"strings"
	"time"
	"unicode"
)

// The RPC layer around the descriptors: a command or response is a type byte and
// a payload. All integers are little-endian.

// Commands.
const (
	cmdInit    = 1
	cmdAttach  = 2
	cmdReinit  = 3
	cmdExecute = 4
	cmdAck     = 5
	cmdExit    = 6
)

// Responses.
const (
	respLocators  = 1
	respDesc      = 2
	respData      = 3
	respPlugin    = 4
	respConfig    = 5
	respCollation = 6
	respPluginV2  = 7
	respConfigV3  = 8
	respConfigV4  = 9
	respComplete  = 99
	respError     = 100
)

const (
	engineInnoDB = 12

	// withoutBackupLock in the DDL timeout lets DDL run during the clone.
	withoutBackupLock = 1 << 31

	maxParameters = 1 << 16 // plugins, collations and settings together
	maxErrorText  = 1024    // bytes of a donor's message that are kept
)

// initBlock is the payload of INIT, ATTACH and REINIT.
func initBlock(version uint32, ddlTimeout time.Duration, locator []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, version)
	b = binary.LittleEndian.AppendUint32(b, uint32(ddlTimeout/time.Second)|withoutBackupLock)
	return appendLocator(b, locator)
}

// ackBlock is the payload of ACK. An error without a state gives the clone up.
func ackBlock(code uint32, l Locator, state []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, code)
	b = appendLocator(b, l[:])
	b = binary.LittleEndian.AppendUint32(b, uint32(len(state)))
	return append(b, state...)
}

func appendLocator(b, l []byte) []byte {
	b = append(b, engineInnoDB)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(l)))
	return append(b, l...)
}

// The decoded responses. DATA is not among them: it is read by whoever read its descriptor.
type (
	locators struct {
		version uint32
		locator Locator
	}
	plugin    struct{ name, library string }
	setting   struct{ key, value string }
	collation string
	complete  struct{}
	failure   struct {
		code    int32
		message string
	}
)

// decodeResponse reads a response of the given type whose payload is b: one of the types above,
// or a descriptor. What it returns does not refer to b.
func decodeResponse(typ byte, b []byte) (any, error) {
	switch typ {
	case respLocators:
		return decodeLocators(b)
	case respDesc:
		// Engine and index of the locator: there is only the one that was sent.
		if len(b) < 2 || b[0] != engineInnoDB || b[1] != 0 {
			return nil, protocolError("descriptor of another storage engine")
		}
		return decodeDescriptor(b[2:])
	case respPlugin, respCollation:
		s, rest, ok := cutString(b)
		if !ok || len(rest) != 0 {
			return nil, protocolError("malformed response %d", typ)
		}
		if typ == respCollation {
			return collation(s), nil
		}
		return plugin{name: s}, nil
	case respPluginV2, respConfig, respConfigV3, respConfigV4:
		k, rest, ok := cutString(b)
		v, rest, ok2 := cutString(rest)
		if !ok || !ok2 || len(rest) != 0 {
			return nil, protocolError("malformed response %d", typ)
		}
		if typ == respPluginV2 {
			return plugin{k, v}, nil
		}
		return setting{k, v}, nil
	case respComplete:
		if len(b) != 0 {
			return nil, protocolError("completion with %d bytes", len(b))
		}
		return complete{}, nil
	case respError:
		if len(b) < 4 {
			return nil, protocolError("error of %d bytes", len(b))
		}
		return failure{int32(binary.LittleEndian.Uint32(b)), printable(b[4:])}, nil
	case respData:
		return nil, protocolError("data without a descriptor")
	default:
		return nil, protocolError("response %d", typ)
	}
}

func decodeLocators(b []byte) (locators, error) {
	if len(b) < 9 {
		return locators{}, protocolError("locators of %d bytes", len(b))
	}
	version, engine, n := binary.LittleEndian.Uint32(b), b[4], binary.LittleEndian.Uint32(b[5:])
	if engine != engineInnoDB || uint64(n) != uint64(len(b)-9) {
		return locators{}, protocolError("locators of engine %d with %d of %d bytes: want one of InnoDB", engine, n, len(b)-9)
	}
	l, err := decodeLocator(b[9:])
	return locators{version, l}, err
}

// cutString takes a string with its length before it from the front of b.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 4 {
		return "", nil, false
	}
	n := binary.LittleEndian.Uint32(b)
	b = b[4:]
	if uint64(n) > uint64(len(b)) {
		return "", nil, false
	}
	return string(b[:n]), b[n:], true
}

// printable makes a donor's text fit for a log line.
func printable(b []byte) string {
	if len(b) > maxErrorText {
		b = b[:maxErrorText]
	}
	s := strings.ToValidUTF8(string(b), "?")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}
