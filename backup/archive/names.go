package archive

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"time"
)

// Names of objects.
const (
	// Prefix is what the names of all objects of the archive begin with.
	Prefix          = "archive/"
	segmentPrefix   = Prefix + "segments/"
	watermarkPrefix = Prefix + "watermarks/"
	watermarkSuffix = ".json"
	segmentTime     = "20060102T150405.000Z"
	writerBytes     = 4
)

var (
	segmentForm   = regexp.MustCompile(`^archive/segments/[0-9]{8}T[0-9]{6}\.[0-9]{3}Z-[0-9a-f]{8}-[0-9]{6,10}$`)
	watermarkForm = regexp.MustCompile(`^archive/watermarks/[0-9a-f]{8}\.json$`)
)

// newWriter returns a name for one run of an archiver, or one compaction. It is by chance: no two have the same.
func newWriter() string {
	var b [writerBytes]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// segmentName names an object with segments. Names sort by time, which nothing depends on.
func segmentName(at time.Time, writer string, number int) string {
	return fmt.Sprintf("%s%s-%s-%06d", segmentPrefix, at.UTC().Format(segmentTime), writer, number)
}

func watermarkName(writer string) string { return watermarkPrefix + writer + watermarkSuffix }
