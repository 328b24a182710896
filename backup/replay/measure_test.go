package replay_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"ordinal/backup/replay"
	"ordinal/internal/binlog"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

var measure = flag.Int("measure", 0, "measure replays of so many transactions")

// TestMeasure compares the replay with the server's own tools on the same binlogs, in one run: go test -run TestMeasure -measure 20000 -v.
func TestMeasure(t *testing.T) {
	if *measure == 0 {
		t.Skip("-measure was not given")
	}
	source := mysqltest.Start(t, mysqltest.Options{Config: map[string]string{
		"server_id": "100", "max_binlog_size": "67108864", "sync_binlog": "0", "innodb_flush_log_at_trx_commit": "0",
	}})
	begin := time.Now()
	makeTransactions(t, source, *measure, 16)
	t.Logf("%d transactions by 16 sessions: %.1f s", *measure, time.Since(begin).Seconds())
	want := executed(t, source)
	archive := archiveOf(t, source.DataDir, 5000)
	var bytes int64
	for _, s := range archive.segments {
		bytes += s.Bytes
	}
	files, err := binlogsOf(source)
	if err != nil {
		t.Fatal(err)
	}
	source.Stop(t)
	t.Logf("%d transactions, %.1f MB of binlogs, %d CPUs", want.Count(), float64(bytes)/1e6, runtime.NumCPU())
	report := func(what string, took time.Duration) {
		t.Logf("%-44s %7.1f s  %7.0f transactions/s", what, took.Seconds(), float64(want.Count())/took.Seconds())
	}
	for _, durable := range []bool{true, false} {
		config := map[string]string{}
		title := "durable commits"
		if !durable {
			config = map[string]string{"sync_binlog": "0", "innodb_flush_log_at_trx_commit": "2"}
			title = "relaxed commits"
		}
		t.Run(title, func(t *testing.T) {
			s := startRestored(t, config)
			s.Exec(t, "SET GLOBAL super_read_only = OFF")
			s.Exec(t, "SET GLOBAL read_only = OFF")
			begin := time.Now()
			pipeInto(t, s, files)
			report("mysqlbinlog | mysql", time.Since(begin))
			if got := executed(t, s); !got.Equal(want) {
				t.Fatalf("executed %v, want %v", got, want)
			}
			s.Kill9(t)
		})
		for _, workers := range []int{1, 4, 8} {
			t.Run(fmt.Sprintf("%s, %d workers", title, workers), func(t *testing.T) {
				s := startRestored(t, config)
				r := replayer(t, s)
				r.Workers = workers
				begin := time.Now()
				if _, err := r.Run(t.Context(), archive, replay.Target{}); err != nil {
					t.Fatal(err)
				}
				report(fmt.Sprintf("replay, %d workers", workers), time.Since(begin))
				s.Kill9(t)
			})
		}
	}
}

// makeTransactions makes n transactions of one row each, on rows that rarely meet.
func makeTransactions(t testing.TB, s *mysqltest.Server, n, sessions int) {
	script(t, s, "CREATE DATABASE shop; CREATE TABLE shop.orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, customer INT, note VARCHAR(200), KEY (customer))")
	var wg sync.WaitGroup
	for i := range sessions {
		db, err := mysqlx.Open(s.Root())
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer db.Close()
			for k := range n / sessions {
				query := "INSERT INTO shop.orders (customer, note) VALUES (RAND() * 100000, REPEAT('x', RAND() * 200))"
				if k%4 == 3 {
					query = fmt.Sprintf("UPDATE shop.orders SET note = REPEAT('y', RAND() * 200) WHERE id = %d", 1+(k*sessions+i)/2)
				}
				if err := db.Exec(t.Context(), query); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// binlogsOf returns the paths of a server's binlogs.
func binlogsOf(s *mysqltest.Server) (paths []string, err error) {
	root, err := os.OpenRoot(s.DataDir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	names, err := binlog.Files(root, "binlog")
	for _, name := range names {
		paths = append(paths, filepath.Join(s.DataDir, name))
	}
	return paths, err
}

// pipeInto executes binlogs as people do.
func pipeInto(t testing.TB, s *mysqltest.Server, files []string) {
	t.Helper()
	from := s.Distribution.Tool("mysqlbinlog", append([]string{"--no-defaults"}, files...)...)
	to := s.Distribution.Tool("mysql", "--no-defaults", "--socket="+s.Socket, "--user=root", "--binary-mode", "--max-allowed-packet=1G")
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from.Stdout, to.Stdin = pw, pr
	var said outputBuffer
	from.Stderr, to.Stderr = &said, &said
	if err := from.Start(); err != nil {
		t.Fatal(err)
	}
	if err := to.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = pw.Close(), pr.Close()
	if err := from.Wait(); err != nil {
		t.Error(err)
	}
	if err := to.Wait(); err != nil {
		t.Errorf("mysql: %v\n%s", err, said.String())
	}
}
