package mysqld

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"unicode"
)

const (
	maxTail   = 64 << 10 // bytes of output that are kept
	maxLines  = 12       // that an error quotes
	maxColumn = 400      // bytes of each
)

// A tail keeps the end of what is written to it. It may be written to and read concurrently.
type tail struct {
	mu   sync.Mutex
	size int
	data []byte // at most twice size
	cut  bool   // something before it is lost
}

func newTail(size int) *tail { return &tail{size: size} }

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	if n > t.size {
		p, t.data, t.cut = p[n-t.size:], t.data[:0], true
	}
	if len(t.data)+len(p) > 2*t.size {
		keep := t.data[len(t.data)-(t.size-len(p)):]
		t.data, t.cut = append(t.data[:0], keep...), true
	}
	t.data = append(t.data, p...)
	return n, nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if from := len(t.data) - t.size; from > 0 {
		return string(t.data[from:])
	}
	return string(t.data)
}

// lines returns what an error should quote: the last errors if there are any, else the last lines.
func (t *tail) lines() []string {
	text := t.String()
	var all, errors []string
	for line := range strings.Lines(text) {
		if line = printable(line); line == "" {
			continue
		}
		all = append(all, line)
		if strings.Contains(line, "[ERROR]") {
			errors = append(errors, line)
		}
	}
	if len(errors) > 0 {
		all = errors
	}
	return all[max(0, len(all)-maxLines):]
}

// printable makes a line of the server's fit for a terminal and not too long.
func printable(line string) string {
	line = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == '\t' {
			return r
		}
		return -1
	}, strings.ToValidUTF8(line, "?"))
	line = strings.TrimSpace(line)
	if len(line) > maxColumn {
		line = strings.ToValidUTF8(line[:maxColumn], "") + "…"
	}
	return line
}

// limited passes on the first n bytes and discards the rest.
type limited struct {
	w *bytes.Buffer
	n int
}

func (l *limited) Write(p []byte) (int, error) {
	if room := l.n - l.w.Len(); room > 0 {
		l.w.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// both writes to the tail and, if there is one, to the caller's log, whose errors are not the server's business.
func both(t *tail, log io.Writer) io.Writer {
	if log == nil {
		return t
	}
	return writerFunc(func(p []byte) (int, error) {
		_, _ = log.Write(p)
		return t.Write(p)
	})
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// signs are texts by which a server's log tells of the machine rather than of the data, in the order in which they count.
var signs = []struct {
	trouble Trouble
	texts   []string
}{
	{TroubleInUse, []string{"Unable to lock ./ibdata1", "Check that you do not already have another mysqld process"}},
	{TroubleSpace, []string{"No space left on device", "errno: 28", "error: 28", "OS errno 28", "Disk is full", "Disk quota exceeded"}},
	{TroubleMemory, []string{"Cannot allocate memory", "Out of memory", "std::bad_alloc", "errno: 12 ", "OS errno 12 "}},
	{TroublePermission, []string{"Permission denied", "must be writable", "errno: 13", "OS errno 13", "Operation not permitted", "Read-only file system"}},
}

// trouble reads a server's log.
func trouble(log string, killed bool) Trouble {
	if killed {
		return TroubleKilled
	}
	for _, s := range signs {
		for _, text := range s.texts {
			if strings.Contains(log, text) {
				return s.trouble
			}
		}
	}
	return TroubleData
}

// lowerCaseInDictionary returns the lower_case_table_names with which the data directory was made, if the server says that it differs from its own:
// "Different lower_case_table_names settings for server ('0') and data dictionary ('1')."
func lowerCaseInDictionary(log string) (value string, ok bool) {
	_, after, ok := strings.Cut(log, "Different lower_case_table_names settings for server ('")
	if !ok {
		return "", false
	}
	_, after, ok = strings.Cut(after, "data dictionary ('")
	value, _, closed := strings.Cut(after, "'")
	return value, ok && closed && len(value) == 1 && strings.Contains("012", value)
}
