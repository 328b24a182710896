package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
	"ordinal/internal/trust"
)

// grace is what a test allows agent run for its end. Kubernetes' default is 30 s.
const grace = 10 * time.Second

// signalsToRun: SIGTERM ends agent run with 0 in any state, and what comes after finds everything in order. SIGTERM while a copy
// is served is in thirdPod.
func signalsToRun(ctx context.Context, t *testing.T, s *localset.Set) {
	t.Run("idle", func(t *testing.T) {
		for ordinal := range 2 {
			mustEndInOrder(ctx, t, s, ordinal)
		}
		must(t, s.WaitReady(ctx))
	})
	t.Run("gate", func(t *testing.T) { signalAtGate(ctx, t, s) })
	t.Run("twice", func(t *testing.T) { signalTwice(ctx, t, s) })
}

// mustEndInOrder tells a pod's agent run to end, and waits until it has.
func mustEndInOrder(ctx context.Context, t *testing.T, s *localset.Set, ordinal int) {
	t.Helper()
	before := len(s.ExitCodes(ordinal, localset.Agent))
	begun := time.Now()
	must(t, syscall.Kill(waitAgent(ctx, t, s, ordinal), syscall.SIGTERM))
	waitFor(ctx, t, "the agent's end", func() bool { return len(s.ExitCodes(ordinal, localset.Agent)) > before })
	if code := s.ExitCodes(ordinal, localset.Agent)[before]; code != 0 {
		t.Errorf("pod %d: SIGTERM ended agent run with %d, want 0", ordinal, code)
	}
	took := time.Since(begun)
	t.Logf("pod %d: agent run ended after %v", ordinal, took.Round(time.Millisecond))
	if took > grace {
		t.Errorf("pod %d: agent run took %v to end", ordinal, took)
	}
}

func waitAgent(ctx context.Context, t *testing.T, s *localset.Set, ordinal int) (pid int) {
	t.Helper()
	waitFor(ctx, t, fmt.Sprintf("agent run of pod %d", ordinal), func() bool {
		pid = agentOf(t, s, ordinal)
		return pid != 0
	})
	return pid
}

// signalAtGate: a sibling that is known and does not answer keeps the source's gate closed for a while.
func signalAtGate(ctx context.Context, t *testing.T, s *localset.Set) {
	sibling := waitAgent(ctx, t, s, 1)
	must(t, syscall.Kill(sibling, syscall.SIGSTOP))
	defer func() { _ = syscall.Kill(sibling, syscall.SIGCONT) }()
	for !s.Kill9(0, localset.Mysqld) {
		must(t, ctx.Err())
	}
	waitStatus(ctx, t, s, 0, "the closed gate", func(st localset.Status) bool { return st.Phase == "run" && st.State == "gate_closed" })
	mustEndInOrder(ctx, t, s, 0)
	if rows, err := s.Query(ctx, 0, "SELECT @@super_read_only"); err != nil || rows[0][0] != "1" {
		t.Errorf("super_read_only behind a closed gate = %v, %v", rows, err)
	}
	must(t, syscall.Kill(sibling, syscall.SIGCONT))
	must(t, s.WaitReady(ctx))
}

// signalTwice: a peer that begins a request and never ends it is waited for a moment, but not by whoever cannot wait.
func signalTwice(ctx context.Context, t *testing.T, s *localset.Set) {
	secret, err := trust.LoadSecret(s.SecretFile())
	must(t, err)
	keys, err := secret.Derive()
	must(t, err)
	pid := waitAgent(ctx, t, s, 1)
	conn, err := tls.Dial("tcp4", dataAddress(s, 1), keys.ClientTLS("mysql-2", "mysql-1"))
	must(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /v1/clone/sessions HTTP/1.1\r\nHost: mysql-1\r\nContent-Length: 100\r\n\r\n{")
	must(t, err)
	waitStatus(ctx, t, s, 1, "readiness", func(st localset.Status) bool { return st.Ready })

	before := len(s.ExitCodes(1, localset.Agent))
	must(t, syscall.Kill(pid, syscall.SIGTERM))
	waitFor(ctx, t, "the status plane's end", func() bool {
		res, err := http.Get("http://" + s.Pod(1).Host + ":8080/livez")
		if err == nil {
			res.Body.Close()
		}
		return err != nil
	})
	if codes := s.ExitCodes(1, localset.Agent); len(codes) > before {
		t.Fatalf("one signal was enough: exit codes %v", codes)
	}
	// The first one may still be on its way through the process, so the second is sent more than once.
	begun := time.Now()
	waitFor(ctx, t, "the agent's end", func() bool {
		_ = syscall.Kill(pid, syscall.SIGTERM)
		return len(s.ExitCodes(1, localset.Agent)) > before
	})
	if took := time.Since(begun); took > time.Second {
		t.Errorf("a second SIGTERM took %v", took)
	}
	if code := s.ExitCodes(1, localset.Agent)[before]; code != 128+int(syscall.SIGTERM) {
		t.Errorf("a second SIGTERM ended agent run with %d, want %d", code, 128+int(syscall.SIGTERM))
	}
	must(t, s.WaitReady(ctx))
}
