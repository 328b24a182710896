package faults

import (
	"testing"
)

// ForTest starts a proxy before target on a free port of 127.0.0.1. It ends with the test; a failed test logs what it did.
func ForTest(t testing.TB, target string, s Schedule) *Proxy {
	t.Helper()
	p, err := Listen(t.Context(), "127.0.0.1:0", target, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		if t.Failed() {
			t.Logf("fault proxy: %v", p)
		}
	})
	return p
}
