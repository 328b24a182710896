package archive_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ordinal/backup/archive"
	"ordinal/backup/store/memstore"
	"ordinal/internal/testing/faults"
	"ordinal/internal/testing/load"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// replay executes segments on another server by the server's own tools.
func replay(t *testing.T, s *mysqltest.Server, files [][]byte) {
	t.Helper()
	dir := t.TempDir()
	args := []string{"--no-defaults", "--verify-binlog-checksum"}
	for i, raw := range files {
		name := filepath.Join(dir, string(rune('a'+i/676%26))+string(rune('a'+i/26%26))+string(rune('a'+i%26)))
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, name)
	}
	var problems bytes.Buffer
	read := s.Distribution.Tool("mysqlbinlog", args...)
	write := s.Distribution.Tool("mysql", "--no-defaults", "--socket="+s.Socket, "--user=root", "--binary-mode", "--max-allowed-packet=1G")
	read.Stderr, write.Stderr = &problems, &problems
	pipe, err := read.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	write.Stdin = pipe
	if err := write.Start(); err != nil {
		t.Fatal(err)
	}
	err = read.Run()
	if err2 := write.Wait(); err != nil || err2 != nil {
		t.Fatalf("mysqlbinlog | mysql: %v, %v\n%s", err, err2, &problems)
	}
}

// startLoad prepares and runs a load; stop ends it and returns when it has.
func startLoad(t *testing.T, s *mysqltest.Server, o load.Options) (l *load.Load, stop func()) {
	t.Helper()
	o.Endpoint = s.Root()
	l = load.New(o)
	if err := l.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("load: %v", err)
		}
	}
	t.Cleanup(stop)
	return l, stop
}

// TestEverything archives a server under load while it rotates its log, is restarted and killed, and while connections are cut. In the end the
// archive is continuous, and a second server that executes it has the same tables.
func TestEverything(t *testing.T) {
	s := mysqltest.Start(t, mysqltest.Options{})
	begin := executed(t, s)
	proxy, err := faults.Listen(t.Context(), "127.0.0.1:0", s.Address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	e := s.Root()
	s.Exec(t, "CREATE USER archiver@'%' IDENTIFIED BY 'pw'")
	s.Exec(t, "GRANT ALL ON *.* TO archiver@'%'")
	e.Address = proxy.Address()
	e.Credentials = mysqlx.Credentials{User: "archiver", Password: mysqlx.FixedPassword("pw")}
	var kept memstore.Store
	a := run(t, options(local(t, e), &kept))
	l, stop := startLoad(t, s, load.Options{Connections: 2, Pause: 2 * time.Millisecond, DDL: true})
	grows := func(what string) {
		t.Helper()
		at := executed(t, s)
		mysqltest.Eventually(t, "archived after "+what, func() bool { return a.Status().Archived.Contains(at) })
		status := a.Status()
		if status.RPO != nil {
			t.Logf("after %s: rpo %.1f s, %d segments, %d bytes of %d", what, *status.RPO, status.Segments, status.StoredBytes, status.RawBytes)
		}
	}
	grows("the start")
	for range 3 {
		s.Exec(t, "FLUSH BINARY LOGS")
		grows("a rotation")
	}
	for _, kind := range []faults.Kind{faults.Reset, faults.Close} {
		proxy.Add(faults.Fault{Kind: kind, At: 20_000, All: true})
		mysqltest.Eventually(t, "a connection is cut", func() bool { return len(proxy.Hits()) > 0 })
		grows("a cut connection")
	}
	s.Restart(t)
	grows("a restart")
	s.Kill9(t)
	s.Restart(t)
	grows("a kill")
	stop()
	a.archived(t, s)
	mysqltest.Eventually(t, "rpo", func() bool { r := a.Status().RPO; return r != nil && *r < 3 })
	a.stop()
	if status := a.Status(); !status.Gap.IsEmpty() || !status.Abandoned.IsEmpty() || status.State != archive.StateStopped {
		t.Errorf("Status() = %+v", status)
	}

	want := executed(t, s)
	x := loadIndex(t, &kept)
	p := x.Path(begin, time.Time{})
	if !p.Missing.IsEmpty() || !p.Reaches.GTIDs.Equal(want) || len(x.Damaged()) > 0 {
		t.Fatalf("Path() reaches %v, want %v; missing %v; damaged %v", p.Reaches, want, p.Missing, x.Damaged())
	}
	if err := x.Check(begin, time.Time{}); err != nil {
		t.Errorf("Check() = %v", err)
	}
	all, files := content(t, x, p)
	if !all.Union(begin).Equal(want) {
		t.Errorf("content %v, want %v", all, want)
	}
	t.Logf("%d segments, %d transfers", len(files), l.Stats().Acked)

	second := mysqltest.Start(t, mysqltest.Options{})
	if got := executed(t, second); !begin.Contains(got) {
		t.Fatalf("the second server begins with %v, the first with %v", got, begin)
	}
	replay(t, second, files)
	if got := executed(t, second); !got.Contains(all) {
		t.Errorf("the second server lacks %v", all.Subtract(got))
	}
	if err := l.CheckNothingLost(t.Context(), second.DB()); err != nil {
		t.Error(err)
	}
	if _, err := l.Check(t.Context(), second.DB()); err != nil {
		t.Error(err)
	}
	sums, err := load.Checksums(t.Context(), s.DB())
	if err != nil {
		t.Fatal(err)
	}
	others, err := load.Checksums(t.Context(), second.DB())
	if err != nil {
		t.Fatal(err)
	}
	for name, sum := range sums {
		if others[name] != sum {
			t.Errorf("table %s: checksum %s, the original has %s", name, others[name], sum)
		}
	}
	if _, _, err := net.SplitHostPort(e.Address); err != nil || len(sums) == 0 {
		t.Errorf("%d tables compared", len(sums))
	}
}
