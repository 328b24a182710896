package main

import (
	"context"
	"encoding/json"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ordinal/agent"
)

type noDNS struct{ err error }

func (n noDNS) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, n.err
}

func viewOf(t *testing.T, cfg func(*agent.Config), answers map[int]agent.PeerAnswer) *statusView {
	t.Helper()
	c := agent.DefaultConfig()
	c.PodName = "mysql-0"
	cfg(&c)
	peers, err := c.Peers()
	if err != nil {
		t.Fatal(err)
	}
	return &statusView{peers: peers, resolver: noDNS{&net.DNSError{Err: "no such host", IsNotFound: true}}, ask: func(_ context.Context, ordinal int) agent.PeerAnswer {
		a, ok := answers[ordinal]
		if !ok {
			a = agent.PeerAnswer{Kind: agent.PeerAbsent, Why: "DNS knows no such name"}
		}
		a.Pod, a.Ordinal = peers.PodName(ordinal), ordinal
		return a
	}}
}

func answered(s agent.Status) agent.PeerAnswer {
	return agent.PeerAnswer{Kind: agent.PeerAnswered, Status: s}
}

func TestStatusTable(t *testing.T) {
	lag, eta, tables := 1.25, 90.0, 4
	view := viewOf(t, func(c *agent.Config) { c.Replicas = 4 }, map[int]agent.PeerAnswer{
		0: answered(agent.Status{Pod: "mysql-0", Role: agent.RoleSource, State: agent.StateSource, Ready: true, GTIDExecuted: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-1234", UserTables: &tables}),
		1: answered(agent.Status{Pod: "mysql-1", Role: agent.RoleReplica, State: agent.StateReplicating, Ready: true, LagSeconds: &lag,
			GTIDExecuted: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7-1230,\n4e11fa47-71ca-11e1-9e33-c80aa9429562:1,\n5e11fa47-71ca-11e1-9e33-c80aa9429562:1-2:4:9"}),
		2: answered(agent.Status{Pod: "mysql-2", Role: agent.RoleReplica, State: agent.StateCloning,
			Clone:   &agent.CloneProgress{Donor: "mysql-1", Stage: "FILE_COPY", BytesDone: 45, BytesTotal: 100, RateBytesPerSecond: 120e6, ETASeconds: &eta},
			Reasons: []agent.Reason{{Code: agent.CodeNonInnoDBTables, Message: "shop.log\x1b[2Jevil\n"}}}),
		3: {Kind: agent.PeerSilent, Why: "mysql-3 refused the connection", Err: syscall.ECONNREFUSED},
	})
	set := view.collect(t.Context())
	var out strings.Builder
	if err := view.print(&out, set, false, true); err != nil {
		t.Fatal(err)
	}
	want := `POD      ROLE     STATE        READY  GTID                                 LAG   CLONE                                          REASONS
mysql-0  source   source       yes    3e11fa47:1-1234                      -     -                                              -
mysql-1  replica  replicating  yes    3e11fa47:1-5:7-1230,4e11fa47:1 +1    1.3s  -                                              -
mysql-2  replica  cloning      no     -                                    -     FILE_COPY 45% 120.0 MB/s eta 1m30s from mysql-1  non_innodb_tables
mysql-3  replica  silent       no     -                                    -     -                                              -
mysql-2: non_innodb_tables: shop.log?[2Jevil?
mysql-3: mysql-3 refused the connection
`
	if squeeze(out.String()) != squeeze(want) {
		t.Errorf("table =\n%s\nwant, but for the number of blanks,\n%s", out.String(), want)
	}
	lines := strings.Split(out.String(), "\n")
	column := strings.Index(lines[0], "REASONS")
	if !strings.HasPrefix(lines[3][column:], "non_innodb") {
		t.Errorf("columns are not aligned:\n%s", out.String())
	}
	if err := set.verdict(); exitCode(err) != agent.ExitTemporary || err.Error() != "2 of 4 pods not ready" {
		t.Errorf("verdict() = %v", err)
	}

	view.color = true
	out.Reset()
	view.print(&out, set, false, true)
	if plain := strings.NewReplacer("\x1b[32m", "", "\x1b[31m", "", "\x1b[0m", "").Replace(out.String()); strings.Contains(plain, "\x1b") || plain == out.String() {
		t.Errorf("coloured table = %q", out.String())
	}

	out.Reset()
	view.print(&out, set, true, false)
	var back setStatus
	if err := json.Unmarshal([]byte(out.String()), &back); err != nil || len(back.Pods) != 4 || back.Pods[3].Status != nil || back.Pods[2].Status.Clone.BytesDone != 45 || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("json = %s, %v", out.String(), err)
	}
}

func squeeze(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(lines, "\n")
}

func TestStatusFindsPods(t *testing.T) {
	up := answered(agent.Status{Ready: true})
	refused := agent.PeerAnswer{Kind: agent.PeerSilent, Err: syscall.ECONNREFUSED}
	slow := agent.PeerAnswer{Kind: agent.PeerSilent, Err: context.DeadlineExceeded}
	for _, tt := range []struct {
		name    string
		cfg     func(*agent.Config)
		answers map[int]agent.PeerAnswer
		want    []int
		note    string
		code    int
	}{
		{"all of --replicas, absent ones too", func(c *agent.Config) { c.Replicas = 3 }, map[int]agent.PeerAnswer{0: up}, []int{0, 1, 2}, "", agent.ExitTemporary},
		{"asking: two absent in a row end it", func(*agent.Config) {}, map[int]agent.PeerAnswer{0: up, 2: up, 5: up}, []int{0, 1, 2}, "--replicas", agent.ExitTemporary},
		{"asking: refused counts as absent", func(*agent.Config) {}, map[int]agent.PeerAnswer{0: up, 1: up, 2: refused, 3: refused, 4: up}, []int{0, 1}, "--replicas", agent.ExitOK},
		{"asking: a slow pod exists", func(*agent.Config) {}, map[int]agent.PeerAnswer{0: up, 1: slow, 2: slow}, []int{0, 1, 2}, "--replicas", agent.ExitTemporary},
		{"asking: more than a batch, from the first ordinal on", func(c *agent.Config) { c.PodName, c.FirstOrdinal = "mysql-3", 3 },
			map[int]agent.PeerAnswer{3: up, 4: up, 5: up, 6: up, 7: up, 8: up}, []int{3, 4, 5, 6, 7, 8}, "--replicas", agent.ExitOK},
		{"asking when DNS does not know the service", func(c *agent.Config) { c.Service = "db" }, map[int]agent.PeerAnswer{0: up}, []int{0}, "DNS knows no such name", agent.ExitOK},
		{"nobody", func(*agent.Config) {}, nil, nil, "--replicas", agent.ExitUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := viewOf(t, tt.cfg, tt.answers).collect(t.Context())
			var got []int
			for _, p := range set.Pods {
				got = append(got, p.Ordinal)
			}
			if !slices.Equal(got, tt.want) || !strings.Contains(set.Note, tt.note) || (tt.note == "") != (set.Note == "") {
				t.Errorf("pods = %v, note %q, want %v, %q", got, set.Note, tt.want, tt.note)
			}
			if code := exitCode0(set.verdict()); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if text, err := json.Marshal(set); err != nil || strings.Contains(string(text), `"pods":null`) {
				t.Errorf("json = %s, %v", text, err)
			}
		})
	}
}

func TestCompactGTIDs(t *testing.T) {
	const a = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	for _, tt := range []struct{ in, want string }{
		{"", "-"},
		{" \n", "-"},
		{a + ":1-5", "3e11fa47:1-5"},
		{a + ":1-5:7:9-11", "3e11fa47:1-5:…:9-11"},
		{a + ":tag:1-5", "3e11fa47:tag:1-5"},
		{"rubbish\x1b[31m", "rubbish?:"},
		{strings.Repeat(a+":1,", 5), "3e11fa47:1,3e11fa47:1 +4"},
	} {
		if got := compactGTIDs(tt.in); got != tt.want {
			t.Errorf("compactGTIDs(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
	if got := compactGTIDs(strings.Repeat("x:", 1<<19)); len(got) > 300 {
		t.Errorf("compactGTIDs() of rubbish has %d bytes", len(got))
	}
}

// cancelAfter ends a watch once it has printed n times.
type cancelAfter struct {
	strings.Builder
	n      int
	cancel context.CancelFunc
}

func (c *cancelAfter) Write(p []byte) (int, error) {
	if c.n--; c.n == 0 {
		c.cancel()
	}
	return c.Builder.Write(p)
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		view := viewOf(t, func(c *agent.Config) { c.Replicas = 1 }, map[int]agent.PeerAnswer{0: answered(agent.Status{Pod: "mysql-0", Ready: true})})
		for _, asJSON := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			out := &cancelAfter{n: 3, cancel: cancel}
			start := time.Now()
			if err := view.watch(ctx, out, asJSON); err != nil {
				t.Errorf("watch() = %v", err)
			}
			if took := time.Since(start); took != 2*watchInterval {
				t.Errorf("three rounds took %v, want %v", took, 2*watchInterval)
			}
			if n := strings.Count(out.String(), "mysql-0"); strings.Contains(out.String(), "\x1b") || !asJSON && n != 3 || asJSON && strings.Count(out.String(), "\n") != 3 {
				t.Errorf("watch printed\n%s", out.String())
			}
			cancel()
		}
	})
}
