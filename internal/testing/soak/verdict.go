package main

import (
	"context"
	"slices"
	"time"

	"ordinal/agent"
	"ordinal/internal/testing/localset"
	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// judge looks at a set that is at rest and notes everything that is not as it should be.
func (s *soak) judge(ctx context.Context) {
	tables, err := s.set.CompareTables(ctx)
	if err != nil {
		s.fail("tables differ: %v", err)
	} else {
		s.out.line("", "%d tables are equal on %d pods, by CHECKSUM TABLE", tables, s.options.pods)
	}
	for ordinal := range s.options.pods {
		if err := s.traffic.judge(ctx, ordinal); err != nil {
			s.fail("%v", err)
		}
		if ordinal > 0 {
			if err := s.set.Exec(ctx, ordinal, "CREATE DATABASE a_replica_took_a_write"); !mysqlx.IsReadOnly(err) {
				s.fail("mysql-%d, a replica, did not reject a write: %v", ordinal, err)
			}
		}
	}
	s.judgeClusters(ctx)
	s.judgeQuarantine(ctx)
	s.judgeLogs()
}

// judgeClusters checks that all Pods still are of one cluster, each with a server_uuid of its own.
func (s *soak) judgeClusters(ctx context.Context) {
	uuids := map[string]int{}
	cluster := ""
	for ordinal := range s.options.pods {
		st, err := s.set.Status(ctx, ordinal)
		if err != nil {
			s.fail("%v", err)
			continue
		}
		if cluster == "" {
			cluster = st.ClusterID
		}
		if st.ClusterID != cluster || cluster == "" {
			s.fail("mysql-%d is of cluster %q, the source of %q", ordinal, st.ClusterID, cluster)
		}
		if other, taken := uuids[st.ServerUUID]; taken {
			s.fail("mysql-%d and mysql-%d have the same server_uuid %s", other, ordinal, st.ServerUUID)
		}
		uuids[st.ServerUUID] = ordinal
	}
}

// judgeQuarantine checks that data is in quarantine only for reasons that were given, and that no errant transaction has vanished.
func (s *soak) judgeQuarantine(ctx context.Context) {
	errantKept := map[int]bool{}
	for ordinal := range s.options.pods {
		entries, err := volume.ListQuarantine(s.set.Pod(ordinal).Volume)
		if err != nil {
			s.fail("mysql-%d: %v", ordinal, err)
		}
		allowed := s.explained(ordinal)
		for _, e := range entries {
			if e.Problem != "" {
				s.fail("mysql-%d: quarantine %s: %s", ordinal, e.Name, e.Problem)
			}
			if !allowed[e.Reason] {
				s.fail("mysql-%d: quarantine %s has a reason that nothing explains: %s", ordinal, e.Name, e.Message)
			}
			errantKept[ordinal] = errantKept[ordinal] || e.Reason == "errant_transactions"
		}
	}
	s.mu.Lock()
	errants := slices.Clone(s.errants)
	s.mu.Unlock()
	for _, e := range errants {
		rows, err := s.set.Query(ctx, 0, "SHOW DATABASES LIKE '"+e.database+"'")
		switch {
		case err != nil:
			s.fail("%v", err)
		case len(rows) == 0 && !errantKept[e.pod] && !s.wiped(e.pod):
			s.fail("what was written to mysql-%d by hand (%s) is neither in its quarantine nor on the source", e.pod, e.database)
		}
	}
}

// wiped returns whether a Pod's volume was taken away, its quarantine with it.
func (s *soak) wiped(ordinal int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.done, func(h happened) bool { return h.Kind == wipeReplica && h.Pod == ordinal })
}

// judgeEnds checks how programs ended: as they were made to, or as they may.
func (s *soak) judgeEnds() {
	type program struct {
		pod     string
		process localset.Process
	}
	killed, terminating, started := map[program]bool{}, map[string]bool{}, map[program]time.Time{}
	for _, e := range s.set.Events() {
		p := program{e.Pod, e.Process}
		switch e.Kind {
		case localset.Created:
			terminating[e.Pod] = false
		case localset.Terminating:
			terminating[e.Pod] = true
		case localset.Started:
			killed[p], started[p] = false, e.Time
		case localset.Killed:
			killed[p] = true
			if e.Process == localset.Agent && e.Detail != localset.ByKill9 && !s.frozenBefore(e) {
				s.fail("the agent of %s did not end within its grace at %s", e.Pod, clockTime(e.Time))
			}
		case localset.Exited:
			if !killed[p] && !mayEnd(e, terminating[e.Pod], e.Time.Sub(started[p])) {
				s.fail("%s of %s ended by itself with code %d at %s: %s", e.Process, e.Pod, e.Code, clockTime(e.Time), e.Detail)
			}
		}
	}
}

func clockTime(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// frozenBefore returns whether the Pod of an event had been frozen shortly before, so that it could not know that it was to end.
func (s *soak) frozenBefore(e localset.Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.done, func(h happened) bool {
		end := s.began.Add(h.At + h.Took)
		return (h.Kind == freezeAgent || h.Kind == freezePod) && s.set.Pod(h.Pod).Name == e.Pod && e.Time.Sub(end).Abs() < time.Minute
	})
}

// listens is how long an agent may take until SIGTERM ends it in order: one that was killed in a Pod that is ending starts once more.
const listens = 5 * time.Second

// mayEnd says whether a program that nobody has killed may end so, after it has run for a time.
func mayEnd(e localset.Event, terminating bool, ran time.Duration) bool {
	ended := terminating && (e.Code == 143 || e.Detail != "") // before it could listen to SIGTERM, or between two of its programs
	switch e.Process {
	case localset.Init:
		return slices.Contains([]int{0, agent.ExitUnavailable, agent.ExitTemporary}, e.Code) || ended
	case localset.Agent:
		return e.Code == 0 && terminating || ended && ran < listens
	}
	// An agent ends its mysqld by SHUTDOWN when it has made a new copy, or a new server_uuid.
	return e.Code == 0 || ended
}
