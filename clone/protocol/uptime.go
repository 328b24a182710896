package protocol

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// comStatistics is the classic protocol's command for a line of text about the server; any account may send it. See the server's source
// documentation, page_protocol_com_statistics.
const comStatistics = 0x09

// serverStarted asks when the donor's server process began: seconds of Unix time, by its host's clock, which is also ours. Two answers
// of one process differ by at most one.
func (c *conn) serverStarted() (int64, error) {
	for range uptimeTries {
		before := time.Now().Unix()
		b, err := c.ordinary(comStatistics)
		if err != nil {
			return 0, err
		}
		uptime, err := parseUptime(string(b))
		if err != nil {
			return 0, err
		}
		// In which second the server looked at its clock has to be certain.
		if time.Now().Unix() == before {
			return before - uptime, nil
		}
	}
	return 0, &brokenError{"ask for the uptime", errors.New("the answers take too long")}
}

const uptimeTries = 20

// parseUptime reads the seconds in "Uptime: 12  Threads: 2  …". A server whose clock was set back behind its own start says what is left of a negative
// number without its sign.
func parseUptime(s string) (int64, error) {
	rest, ok := strings.CutPrefix(s, "Uptime: ")
	digits, _, _ := strings.Cut(rest, " ")
	wide, err := strconv.ParseUint(digits, 10, 64)
	n := int64(wide)
	if !ok || err != nil || max(n, -n) > math.MaxUint32 {
		return 0, fmt.Errorf("ask for the uptime: %w", protocolError("statistics %q", printable([]byte(s))))
	}
	return n, nil
}

// sameProcess reports whether two answers of serverStarted are of one process: no server serves a clone, ends, and starts again within a
// second.
func sameProcess(a, b int64) bool { return max(a, b)-min(a, b) <= 1 }
