package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
)

// TestRotation: the cluster secret is replaced by changing a file, under load. Replication goes on, a pod can be cloned in the middle of it, and
// at the end the former secret is worth nothing.
func TestRotation(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 6*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 3})
	must(t, s.WaitReady(ctx))
	_, stop := startLoad(ctx, t, s, load.Options{Pause: 10 * time.Millisecond})
	old := secretOf(t, s, 0)
	former, err := os.ReadFile(s.SecretFile())
	must(t, err)
	must(t, os.WriteFile(s.SecretFile()+".previous", former, 0o600))
	must(t, os.WriteFile(s.SecretFile()+".new", []byte("a new secret of more than thirty-two bytes, 1"), 0o600))
	must(t, os.Rename(s.SecretFile()+".new", s.SecretFile()))
	for n := range 3 {
		waitFor(ctx, t, "all pods to hold the new secret", func() bool { now := secretOf(t, s, n); return now != old && now != "" })
	}
	waitFor(ctx, t, "the channels to log in with the new password", func() bool {
		for n := 1; n < 3; n++ {
			if !strings.Contains(s.LogTail(n, localset.Agent, 1000), "give the replication channel its new password") {
				return false
			}
		}
		return true
	})
	must(t, s.DeleteVolume(ctx, 2)) // a pod that knows the new secret first of all
	must(t, s.WaitReady(ctx))
	must(t, os.Remove(s.SecretFile()+".previous"))
	for n := range 3 {
		must(t, s.Delete(ctx, n)) // a new process has never known the former one
		must(t, s.WaitReady(ctx))
	}
	stop()
	mustBeEqual(ctx, t, s)
	for n := range 3 {
		for _, exited := range s.ExitCodes(n, localset.Agent) {
			if exited != 0 {
				t.Errorf("agent run of pod %d ended with %d", n, exited)
			}
		}
	}
}

// secretOf is the fingerprint of the secret that a pod's agent uses; "" if it does not answer.
func secretOf(t *testing.T, s *localset.Set, ordinal int) string {
	st, err := s.Status(t.Context(), ordinal)
	if err != nil {
		return ""
	}
	return st.Secret.Current.Fingerprint
}
