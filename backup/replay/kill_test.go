package replay_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"ordinal/backup/replay"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// helperEnv makes the test binary replay in a process of its own, which can be killed: socket, data directory, journal and the source's data directory.
const helperEnv = "REPLAY_TEST_HELPER"

const killedBatch = 30 << 10

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) == "" {
		os.Exit(m.Run())
	}
	if err := helper(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func helper(args []string) error {
	db, err := mysqlx.Open(mysqlx.Endpoint{Address: args[0], Credentials: mysqlx.Credentials{User: "root"}})
	if err != nil {
		return err
	}
	archive := archiveOf(new(testing.T), args[3], 50)
	r := replay.Replayer{DB: db, DataDir: args[1], Journal: args[2], BatchBytes: killedBatch, Workers: 4}
	_, err = r.Run(context.Background(), archive, replay.Target{})
	return err
}

// TestKilled kills the server or the process that replays, at moments by chance, until it is done all the same.
func TestKilled(t *testing.T) {
	t.Parallel()
	source := mysqltest.Start(t, mysqltest.Options{Config: serverConfig})
	stop := startLoad(t, source, 4)
	waitRows(t, source, 600)
	stop()
	want, sums := executed(t, source), content(t, source)
	source.Stop(t)

	for name, config := range map[string]map[string]string{"relay logs are forgotten": nil, "relay logs are kept": {"relay_log_recovery": "OFF"}} {
		t.Run(name, func(t *testing.T) {
			s := startRestored(t, config)
			before, err := s.DB().ApplierSettings(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			journal := filepath.Join(t.TempDir(), "replay.json")
			seed := uint64(time.Now().UnixNano())
			if text := os.Getenv("REPLAY_TEST_SEED"); text != "" {
				if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("REPLAY_TEST_SEED=%d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			kills, inside, done := 0, 0, false
			for round := 0; !done; round++ {
				if round == 40 {
					t.Fatal("not done after 40 rounds")
				}
				c := exec.Command(os.Args[0], s.Socket, s.DataDir, journal, source.DataDir)
				c.Env = append(os.Environ(), helperEnv+"=1")
				c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
				var out outputBuffer
				c.Stdout, c.Stderr = &out, &out
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
				ended := make(chan error, 1)
				go func() { ended <- c.Wait() }()
				var victim func()
				switch {
				case round >= 8: // let it finish
				case random.IntN(2) == 0:
					victim = func() { _ = c.Process.Kill() }
				default:
					victim = func() { s.Kill9(t) }
				}
				moment := time.NewTimer(300*time.Millisecond + time.Duration(random.Int64N(int64(2500*time.Millisecond))))
				select {
				case err = <-ended:
				case <-moment.C:
					if victim != nil {
						victim()
						kills++
					}
					err = <-ended
				}
				moment.Stop()
				switch _, journalErr := replay.ReadJournal(journal); {
				case err == nil:
					done = true
					if !errors.Is(journalErr, os.ErrNotExist) {
						t.Errorf("after the end there is a journal: %v", journalErr)
					}
				case victim == nil:
					t.Fatalf("round %d, nobody was killed: %v\n%s", round, err, out.String())
				default:
					if s.DB().Ping(t.Context()) != nil {
						s.Restart(t)
					}
					if has := executed(t, s); !has.IsEmpty() && !has.Equal(want) {
						inside++
					}
				}
			}
			t.Logf("killed %d times, %d of them with some of it executed", kills, inside)
			if got := executed(t, s); !got.Equal(want) {
				t.Errorf("executed %v, want %v", got, want)
			}
			if got := content(t, s); got != sums {
				t.Errorf("tables:\n%swant:\n%s", got, sums)
			}
			after, err := s.DB().ApplierSettings(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range before {
				if after[name] != value {
					t.Errorf("%s is %s after the replay, and was %s", name, after[name], value)
				}
			}
			nothingLeft(t, s)
		})
	}
}

// nothingLeft checks that no file and no channel of a replay is there.
func nothingLeft(t testing.TB, s *mysqltest.Server) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(s.DataDir, "*ordinal_replay*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the data directory: %q, %v", left, err)
	}
	if n := s.QueryString(t, "SELECT COUNT(*) FROM performance_schema.replication_connection_configuration"); n != "0" {
		t.Errorf("%s channels are left", n)
	}
}

// outputBuffer keeps what a process says.
type outputBuffer struct{ b []byte }

func (o *outputBuffer) Write(p []byte) (int, error) { o.b = append(o.b, p...); return len(p), nil }
func (o *outputBuffer) String() string              { return string(o.b) }
