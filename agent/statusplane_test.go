package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite generated documentation")

// servePlane runs a status plane until the test ends and returns its address.
func servePlane(t *testing.T, p *StatusPlane) string {
	t.Helper()
	l, err := ListenStatus(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.Listener = l
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	return l.Addr().String()
}

func ask(t *testing.T, method, url string, body io.Reader) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func testBoard(t *testing.T, pod string, phase Phase) *Board {
	t.Helper()
	id, err := ParseIdentity(pod, -1, 0)
	if err != nil {
		t.Fatal(err)
	}
	return NewBoard(id, phase, "test")
}

func TestStatusPages(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("pages", testStatusPages) // its clean-up comes before the check for leaks
}

func testStatusPages(t *testing.T) {
	now := time.Now()
	board := testBoard(t, "mysql-1", PhaseRun)
	board.now = func() time.Time { return now }
	beat := NewHeartbeat(time.Minute)
	beat.now = board.now
	beat.Beat()
	at := "http://" + servePlane(t, &StatusPlane{Board: board, Heartbeat: beat})
	expect := func(when, path string, code int, text string) {
		t.Helper()
		gotCode, got := ask(t, http.MethodGet, at+path, nil)
		if gotCode != code || !strings.Contains(got, text) {
			t.Errorf("%s: GET %s = %d %q, want %d with %q", when, path, gotCode, got, code, text)
		}
		headCode, head := ask(t, http.MethodHead, at+path, nil)
		if headCode != code || head != "" {
			t.Errorf("%s: HEAD %s = %d %q", when, path, headCode, head)
		}
	}
	tables := 7
	lag := 0.5

	board.Update(func(s *Status) {})
	expect("at start", "/livez", 200, "ok")
	expect("at start", "/startupz", 503, "waiting_for_mysqld")
	expect("at start", "/readyz", 503, "starting")
	expect("at start", "/status", 200, "replica")
	expect("at start", "/status?level=full", 503, "waiting_for_mysqld")
	expect("at start", "/v1/status", 200, `"state":"waiting_for_mysqld"`)
	expect("at start", "/nothing", 404, "")
	expect("at start", "/status?level=some", 400, "full")

	board.Update(func(s *Status) {
		s.State, s.UserTables, s.LagSeconds = StateCatchingUp, &tables, &lag
		s.Reasons = []Reason{NewReason(CodeLagAboveBound, "lag 40s")}
	})
	expect("catching up", "/startupz", 200, "ok")
	expect("catching up", "/readyz", 503, "lag_above_bound: lag 40s")

	board.Update(func(s *Status) { s.State, s.Ready, s.Reasons = StateReplicating, true, nil })
	expect("replicating", "/readyz", 200, "ok")
	expect("replicating", "/status?level=full", 200, "7")
	expect("replicating", "/v1/status", 200, `"reasons":[]`)

	now = now.Add(DefaultStaleAfter + time.Second)
	expect("stale", "/readyz", 503, "status_stale")
	expect("stale", "/status?level=full", 503, "status_stale")
	expect("stale", "/v1/status", 200, "status_stale")
	expect("stale", "/livez", 200, "ok")

	now = now.Add(time.Minute)
	expect("stuck", "/livez", 503, "has not turned")
	expect("stuck", "/startupz", 200, "ok")

	board.Update(func(s *Status) { s.State, s.Ready = StateWaitingForMysqld, false })
	expect("mysqld away", "/startupz", 200, "ok") // it never turns back
	expect("mysqld away", "/status?level=full", 503, "")

	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "CONNECT"} {
		if code, _ := ask(t, method, at+"/status", nil); code != http.StatusMethodNotAllowed {
			t.Errorf("%s /status = %d, want 405", method, code)
		}
	}
	if code, _ := ask(t, "GET", at+"/status", strings.NewReader("x")); code != http.StatusRequestEntityTooLarge {
		t.Errorf("GET with a body = %d, want 413", code)
	}
}

func TestInitIsNeverStarted(t *testing.T) {
	board := testBoard(t, "mysql-1", PhaseInit)
	board.Update(func(s *Status) {
		s.State = StateCloning
		s.Clone = &CloneProgress{Donor: "mysql-0", Stage: "FILE_COPY", BytesDone: 50, BytesTotal: 200, RateBytesPerSecond: 2e6}
	})
	at := "http://" + servePlane(t, &StatusPlane{Board: board, Heartbeat: NewHeartbeat(time.Minute)})
	if code, got := ask(t, "GET", at+"/startupz", nil); code != 503 || !strings.Contains(got, "clone from mysql-0: FILE_COPY 25% 2.0 MB/s") {
		t.Errorf("GET /startupz = %d %q", code, got)
	}
}

// A peer that dribbles its header is cut off, and a flood of idle connections keeps no probe from being answered for longer
// than the header time-out.
func TestStatusPlaneUnderAbuse(t *testing.T) {
	board := testBoard(t, "mysql-0", PhaseRun)
	address := servePlane(t, &StatusPlane{Board: board, Heartbeat: NewHeartbeat(time.Minute)})
	start := time.Now()
	var idle []net.Conn
	for range statusMaxConns + 50 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		idle = append(idle, c)
	}
	idle[0].SetReadDeadline(start.Add(10 * time.Second))
	if _, err := io.ReadAll(idle[0]); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the dribbling connection was not closed: %v", err)
	}
	if took := time.Since(start); took > statusHeaderTimeout+5*time.Second {
		t.Errorf("the dribbling connection was closed after %v", took)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
		line, err := bufio.NewReader(c).ReadString('\n')
		c.Close()
		if err == nil && strings.Contains(line, "200") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no answer after the flood: %q, %v", line, err)
		}
	}
}

func TestHugeHeaderRefused(t *testing.T) {
	address := servePlane(t, &StatusPlane{Board: testBoard(t, "mysql-0", PhaseRun), Heartbeat: NewHeartbeat(time.Minute)})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "GET /livez HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("a", 64<<10))
	if line, err := bufio.NewReader(c).ReadString('\n'); err == nil && !strings.Contains(line, "431") {
		t.Errorf("answer to a huge header = %q", line)
	}
}

func TestListenErrorNamesTheFlag(t *testing.T) {
	l, err := ListenStatus(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = ListenStatus(t.Context(), l.Addr().String())
	bad, ok := err.(*ListenError)
	if !ok || !strings.Contains(bad.Hint(), "--status-listen") || !strings.Contains(bad.Error(), "address already in use") {
		t.Errorf("second ListenStatus() error = %v", err)
	}
}

func TestBoardGivesCopies(t *testing.T) {
	board := testBoard(t, "mysql-0", PhaseRun)
	lag := 1.0
	board.Update(func(s *Status) { s.LagSeconds, s.Clone = &lag, &CloneProgress{Stage: "x", ETASeconds: &lag} })
	one := board.Status()
	one.Reasons[0].Code, *one.LagSeconds, one.Clone.Stage, *one.Clone.ETASeconds = "changed", 9, "changed", 9
	two := board.Status()
	if two.Reasons[0].Code != CodeStarting || *two.LagSeconds != 1 || two.Clone.Stage != "x" || *two.Clone.ETASeconds != 1 {
		t.Errorf("Status() shares memory with the board: %+v", two)
	}
}

// The JSON's names are an API: a field may be added here, never removed or renamed.
func TestStatusFields(t *testing.T) {
	eta := 1.0
	b, err := json.Marshal(Status{Clone: &CloneProgress{ETASeconds: &eta}})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range strings.Fields(`pod ordinal role state ready reasons cluster_id server_uuid server_version gtid_executed
		gtid_purged has_data lag_seconds user_tables clone donor stage bytes_done bytes_total rate_bytes_per_second eta_seconds since
		phase observed_at agent_version resumes`) {
		if !strings.Contains(string(b), `"`+field+`":`) {
			t.Errorf("field %s is missing in %s", field, b)
		}
	}
}

func TestReasonCodesAreDocumented(t *testing.T) {
	declared := map[Code]string{} // names of the constants
	for _, m := range regexp.MustCompile(`(Code\w+)\s+Code\s+=\s+"([a-z0-9_]+)"`).FindAllStringSubmatch(readSource(t, "reasons.go"), -1) {
		declared[Code(m[2])] = m[1]
	}
	var reported, reserved strings.Builder
	used := sourceOfPackage(t, "reasons.go")
	seen := map[Code]bool{}
	for _, c := range Codes() {
		name, ok := declared[c.Code]
		if !ok || seen[c.Code] {
			t.Errorf("code %q is listed twice or not declared", c.Code)
		}
		seen[c.Code] = true
		table := &reported
		if !regexp.MustCompile(`\b` + name + `\b`).MatchString(used) {
			table = &reserved
		}
		fmt.Fprintf(table, "| `%s` | %s | %s |\n", c.Code, c.Meaning, c.Remedy)
	}
	for c := range declared {
		if !seen[c] {
			t.Errorf("code %q has no explanation in Codes()", c)
		}
	}
	answers := regexp.MustCompile(`Reason\w+\s+=\s+"([a-z0-9_]+)"`).FindAllStringSubmatch(readSource(t, "../clone/messages.go"), -1)
	if len(answers) == 0 {
		t.Error("the donor's answers are not where this test looks")
	}
	for _, m := range answers {
		if !strings.Contains(donorCodes, "`"+m[1]+"`") {
			t.Errorf("the donor's answer %q is not explained", m[1])
		}
	}
	doc := reasonCodesIntro + reported.String() + donorCodes + reservedIntro + reserved.String()
	const path = "../docs/reason-codes.md"
	if *update {
		if err := os.WriteFile(path, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != doc {
		t.Errorf("%s is not what Codes() says (%v): run go generate ./agent", path, err)
	}
}

func readSource(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// sourceOfPackage is the product code of this package but for one file.
func sourceOfPackage(t *testing.T, except string) string {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range names {
		if name != except && !strings.HasSuffix(name, "_test.go") {
			all.WriteString(readSource(t, name))
		}
	}
	return all.String()
}

const reasonCodesIntro = `# Reason codes

Why a pod is not ready, or what somebody should look at: ` + "`reasons[].code` in `/v1/status` and `agent status --json`" + `, and in logs.
Codes are stable and only ever added; the messages beside them are for people and may change.

<!-- Written by go generate ./agent from agent/reasons.go. -->

| Code | What it means | What to do |
|---|---|---|
`

const donorCodes = `
## Answers of a donor

What a donor says to a pod that asks for a copy: ` + "`reason`" + ` in the data plane's answers, and in parentheses in the message of ` + "`donor_not_ready`" + `.
Beside these it is the donor's state, such as ` + "`catching_up`" + `.

| Code | What it means | What to do |
|---|---|---|
| ` + "`donor_busy`" + ` | It serves another recipient, or its server is busy with another clone. | Nothing: it ends by itself. |
| ` + "`donor_failed`" + ` | Its mysqld did not answer, or refused. | Nothing, if it passes. Otherwise read the message and the donor's log. |
| ` + "`clone_plugin_inactive`" + ` | Its mysqld runs without the clone plugin. | Remove what overrides ` + "`plugin_load_add`" + ` in ` + "`zz-ordinal.cnf`" + `, restart mysqld. |
| ` + "`unsupported_content`" + ` | It has what a clone cannot carry; the message names it. | Move it into plain InnoDB tablespaces or drop it. |
| ` + "`donor_no_space`" + ` | Its own volume has too little room for what its mysqld keeps there while it is copied; the message has the bytes. | Enlarge the donor's volume or free space on it. |
| ` + "`no_such_session`" + ` | The copy has been given up meanwhile. | Nothing: the recipient starts over. |
| ` + "`snapshot_gone`" + ` | Its mysqld no longer holds the snapshot: it was restarted, or the recipient was away for too long. | Nothing: the recipient starts over. |
| ` + "`bad_request`" + ` | The request makes no sense to this version. | Run the same version of the agent everywhere. |
`

const reservedIntro = `
## Reserved

No pod reports these yet: what they mean ends the agent, with a line on standard error and an [exit code](exit-codes.md), or shows under another code.

| Code | What it means | What to do |
|---|---|---|
`
