package main

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// TestMain runs the tests in a world of their own where that can be had. What they need from outside is there before: see prepare.
func TestMain(m *testing.M) {
	p, err := fromOutside()
	if p == nil && err == nil {
		if p, err = prepare(context.Background(), options{pods: 3}); err == nil {
			err = p.enterWorld() // returns only to say that it cannot
			err = skipWorld(err)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	outside = p
	code := m.Run()
	_ = os.RemoveAll(p.Dir)
	os.Exit(code)
}

// outside is what was prepared for all tests.
var outside *prepared

// skipWorld lets the tests run without networks of their own, but not where everything has to be tested.
func skipWorld(err error) error {
	if os.Getenv("CI") == "true" {
		return err
	}
	fmt.Fprintln(os.Stderr, "soak:", err)
	return nil
}

// needsWorld skips a test that cannot be run here.
func needsWorld(t *testing.T) {
	t.Helper()
	if os.Getenv(worldMark) == "" {
		t.Skip("needs networks of its own: run it as root")
	}
}
