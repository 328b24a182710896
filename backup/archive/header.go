package archive

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"ordinal/backup"
	"ordinal/mysqlx"
)

// What an object with segments is called in its header, and the only version that is read and written.
const (
	formatName    = "ordinal binlog archive"
	formatVersion = 1

	magic       = "ORDBINLG"
	prefaceSize = len(magic) + 4 + 4 // magic, length of header, length of seal; both big-endian
	maxHeader   = 8 << 20
	maxSealSize = 4 << 10

	sealSegments  = "ordinal binlog archive segments v1"
	sealWatermark = "ordinal binlog archive watermark v1"
)

// Bounds on what a header may say.
const (
	maxMembers    = 2000
	maxRaw        = 64 << 20 // of one member, in bytes
	maxStored     = maxRaw + 4<<20
	maxSeriesPart = 1 << 20
)

// header says what an object holds. Fields are only ever added.
type header struct {
	Format     string              `json:"format"`
	Version    int                 `json:"version"`
	Cluster    string              `json:"cluster_id"`
	Set        string              `json:"set"`
	Written    time.Time           `json:"written_at"`
	Encryption []backup.Encryption `json:"encryption,omitempty"` // those that members name
	Members    []member            `json:"segments"`
}

// member is a segment, or a part of one, within an object. Members lie one after the other behind the header, in the order of the list.
type member struct {
	Previous     string    `json:"previous_gtids,omitempty"`
	Follows      bool      `json:"follows,omitempty"` // previous_gtids is left out: it is that of the member before, and that one's own
	GTIDs        string    `json:"gtids"`
	Abandons     string    `json:"abandons,omitempty"`
	Transactions int       `json:"transactions"`
	First        time.Time `json:"first_commit"`
	Last         time.Time `json:"last_commit"`
	ServerUUID   string    `json:"server_uuid"`
	Server       string    `json:"server_version"`
	Cut          time.Time `json:"cut_at"`
	Series       string    `json:"series,omitempty"` // id of the row of parts that one long transaction is cut into; "" for whole transactions
	Part         int       `json:"part,omitempty"`   // 1, 2, 3…
	LastPart     bool      `json:"last_part,omitempty"`
	Encryption   int       `json:"encryption,omitempty"` // number in the header's list, from 1; 0: not encrypted
	Size         int64     `json:"size"`                 // in the object, in bytes
	Raw          int64     `json:"raw"`                  // unpacked
	Digest       string    `json:"blake3"`               // of what is in the object

	previous, gtids, abandons mysqlx.GTIDSet
}

// encodeObject returns everything of an object that lies before its members.
func encodeObject(h header, keys backup.Keys) ([]byte, error) {
	h.Format, h.Version = formatName, formatVersion
	var after mysqlx.GTIDSet
	for i := range h.Members {
		m := &h.Members[i]
		m.Follows = i > 0 && m.previous.Equal(after)
		m.Previous, m.GTIDs, m.Abandons = "", m.gtids.String(), m.abandons.String()
		if !m.Follows {
			m.Previous = m.previous.String()
		}
		after = m.previous.Union(m.gtids)
	}
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	if len(text) > maxHeader {
		return nil, fmt.Errorf("header of %d bytes, at most %d fit", len(text), maxHeader)
	}
	seal, err := keys.Sign(sealSegments, text)
	if err != nil {
		return nil, err
	}
	sealText, err := json.Marshal(seal)
	if err != nil {
		return nil, err
	}
	b := append(make([]byte, 0, prefaceSize+len(text)+len(sealText)), magic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(sealText)))
	return append(append(b, text...), sealText...), nil
}

var errNoObject = errors.New("it does not begin like an object of the archive")

// decodePreface returns how many bytes the header and its seal take behind the preface.
func decodePreface(b []byte) (headerSize, sealSize int, err error) {
	if len(b) < prefaceSize || string(b[:len(magic)]) != magic {
		return 0, 0, errNoObject
	}
	h, s := binary.BigEndian.Uint32(b[len(magic):]), binary.BigEndian.Uint32(b[len(magic)+4:])
	if h > maxHeader || s > maxSealSize {
		return 0, 0, fmt.Errorf("a header of %d bytes with a seal of %d", h, s)
	}
	return int(h), int(s), nil
}

// decodeObject reads what encodeObject wrote. size is that of the whole object. Errors match backup.ErrManifest, backup.ErrVersion, backup.ErrEdited,
// backup.ErrTruncated or backup.ErrLonger, or are a *backup.WrongKeyError.
func decodeObject(b []byte, size int64, keys backup.Keys) (h header, err error) {
	headerSize, sealSize, err := decodePreface(b)
	if err != nil {
		return h, fmt.Errorf("%w: %w", backup.ErrManifest, err)
	}
	if len(b) < prefaceSize+headerSize+sealSize {
		return h, fmt.Errorf("%w: in its header", backup.ErrTruncated)
	}
	text, sealText := b[prefaceSize:prefaceSize+headerSize], b[prefaceSize+headerSize:prefaceSize+headerSize+sealSize]
	var seal backup.Seal
	if err := json.Unmarshal(sealText, &seal); err != nil {
		return h, fmt.Errorf("%w: its seal is no JSON", backup.ErrManifest)
	}
	if err := keys.CheckSeal(sealSegments, text, seal); err != nil {
		return h, err
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return h, fmt.Errorf("%w: its header is no JSON", backup.ErrManifest)
	}
	if h.Format != formatName {
		return h, fmt.Errorf("%w: it is a %.60q", backup.ErrManifest, h.Format)
	}
	if h.Version != formatVersion {
		return h, fmt.Errorf("%w: %d, known is %d", backup.ErrVersion, h.Version, formatVersion)
	}
	if err := h.check(); err != nil {
		return h, fmt.Errorf("%w: %w", backup.ErrManifest, err)
	}
	want := int64(prefaceSize + headerSize + sealSize)
	for _, m := range h.Members {
		want += m.Size
	}
	switch {
	case size < want:
		return h, fmt.Errorf("%w: %d bytes of %d", backup.ErrTruncated, size, want)
	case size > want:
		return h, fmt.Errorf("%w: %d bytes instead of %d", backup.ErrLonger, size, want)
	}
	return h, nil
}

var (
	digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)
	seriesForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9]{1,10}$`)
)

// check parses what a header says and refuses what cannot be.
func (h *header) check() error {
	if len(h.Members) == 0 || len(h.Members) > maxMembers || len(h.Encryption) > len(h.Members) {
		return fmt.Errorf("%d segments with %d encryptions", len(h.Members), len(h.Encryption))
	}
	var after mysqlx.GTIDSet
	for i := range h.Members {
		m := &h.Members[i]
		if err := m.parse(after); err != nil {
			return fmt.Errorf("segment %d: %w", i+1, err)
		}
		if m.Follows && i == 0 {
			return errors.New("the first segment follows another")
		}
		if m.Encryption < 0 || m.Encryption > len(h.Encryption) {
			return fmt.Errorf("segment %d: encryption %d of %d", i+1, m.Encryption, len(h.Encryption))
		}
		after = m.previous.Union(m.gtids)
	}
	return nil
}

func (m *member) parse(after mysqlx.GTIDSet) (err error) {
	switch {
	case m.Size < 1 || m.Size > maxStored || m.Raw < 1 || m.Raw > maxRaw:
		return fmt.Errorf("%d bytes, unpacked %d", m.Size, m.Raw)
	case !digestForm.MatchString(m.Digest):
		return errors.New("its digest is none")
	case m.Transactions < 1 || m.First.After(m.Last):
		return errors.New("it has no transactions, or ends before it begins")
	case m.Series == "" && (m.Part != 0 || m.LastPart):
		return errors.New("it is a part of nothing")
	case m.Series != "" && (!seriesForm.MatchString(m.Series) || m.Part < 1 || m.Part > maxSeriesPart):
		return errors.New("it is no part of a long transaction")
	case m.Follows && m.Previous != "":
		return errors.New("it says in two ways what comes before")
	}
	if m.gtids, err = mysqlx.ParseGTIDSet(m.GTIDs); err != nil {
		return err
	}
	if m.abandons, err = mysqlx.ParseGTIDSet(m.Abandons); err != nil {
		return err
	}
	if m.previous, err = mysqlx.ParseGTIDSet(m.Previous); err != nil {
		return err
	}
	if m.Follows {
		m.previous = after
	}
	if m.gtids.IsEmpty() || !m.gtids.Intersect(m.previous).IsEmpty() {
		return errors.New("its gtids are none, or come before it")
	}
	return nil
}
