package agent

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"ordinal/clone"
)

var _ clone.Progress = (*cloneMeter)(nil)

// TestCloneMeter follows a copy through its stages, a break that is short and one that is long, and a second process.
func TestCloneMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logged := observer.New(zap.InfoLevel)
		id := Identity{Base: "mysql", Pod: "mysql-2", Ordinal: 2}
		board := NewBoard(id, PhaseInit, "1.2.3")
		i := &initialiser{self: self{id: id, log: zap.New(core)}, board: board, metrics: NewMetrics(board, "1.2.3"), beat: NewHeartbeat(initBeat)}
		w := i.workshop()
		const mb = 1_000_000
		mustSee := func(what string, done, total int64, resumes int, eta time.Duration, reason string) {
			t.Helper()
			time.Sleep(meterEvery)
			synctest.Wait()
			s := board.Status()
			why := ""
			for _, r := range s.Reasons {
				why += r.String()
			}
			left := time.Duration(-1)
			if s.Clone.ETASeconds != nil {
				left = time.Duration(*s.Clone.ETASeconds * float64(time.Second))
			}
			if s.State != StateCloning || s.HasData != DataBuilding || s.Clone.BytesDone != done || s.Clone.BytesTotal != total ||
				s.Clone.Resumes != resumes || (left-eta).Abs() > 10*time.Second || !strings.HasPrefix(why, reason) || reason == "" && why != "" {
				t.Errorf("%s: %s %s, clone %+v, eta %v", what, s.State, why, s.Clone, left)
			}
		}
		receive := func(m *cloneMeter, seconds int) {
			for range seconds {
				time.Sleep(time.Second)
				m.Add(10 * mb)
			}
		}

		m := newCloneMeter(t.Context(), w, "mysql-1", false)
		m.Stage("FILE_COPY", 1000*mb)
		receive(m, 20)
		mustSee("in FILE_COPY", 200*mb, 1000*mb, 0, 80*time.Second, "")
		m.Broke(errors.New("connection reset"))
		mustSee("broken", 200*mb, 1000*mb, 1, 84*time.Second, "clone_interrupted: the connection to mysql-1 was lost; going on (connection reset)")
		m.Stage("FILE_COPY", 1000*mb)
		receive(m, 30)
		mustSee("after a break", 500*mb, 1000*mb, 1, 50*time.Second, "")
		m.Broke(errors.New("connection reset"))
		time.Sleep(time.Minute)
		mustSee("stalled", 500*mb, 1000*mb, 2, -1, "clone_stalled: no byte for 61 s from mysql-1 (connection reset)")
		receive(m, 49)
		m.Stage("PAGE_COPY", 20*mb)
		receive(m, 1)
		mustSee("in PAGE_COPY", 1000*mb, 1010*mb, 2, time.Second, "")
		m.stop()
		if logged.FilterMessage("connection lost; going on").Len() != 2 || logged.FilterMessage("clone progress").Len() < 20 {
			t.Errorf("logged %v", logged.All())
		}
		if !strings.Contains(scrape(t, i.metrics), "ordinal_clone_received_bytes_total 1e+09\n") {
			t.Error("the bytes are not counted")
		}
		mustSay(t, scrape(t, i.metrics), `ordinal_clone_attempts_total{side="recipient"} 3`, `ordinal_clone_resumes_total{side="recipient"} 2`)

		m = newCloneMeter(t.Context(), w, "mysql-1", true)
		m.Resumed("FILE_COPY", 1000*mb, 400*mb)
		receive(m, 20)
		mustSee("of a second process", 600*mb, 1000*mb, 1, 40*time.Second, "")
		m.stop()
	})
}
