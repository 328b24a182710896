package load_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/mysqltest"
)

func TestLoad(t *testing.T) {
	server := mysqltest.Start(t, mysqltest.Options{})
	l := load.New(load.Options{Endpoint: server.Root(), Accounts: 1500, DDL: true})
	if err := l.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	mysqltest.Eventually(t, "transfers and definitions", func() bool {
		s := l.Stats()
		return s.Acked > 200 && s.Definitions > 20
	})
	// Torn transactions would show in a snapshot while transfers go on.
	for range 20 {
		if s, err := l.Check(ctx, server.DB()); err != nil {
			t.Fatalf("Check() = %+v, %v", s, err)
		}
	}
	server.Kill9(t)
	server.Restart(t)
	acked := l.Stats().Acked
	mysqltest.Eventually(t, "transfers after a crash", func() bool { return l.Stats().Acked > acked+100 })
	cancel()
	if err := <-ended; err != nil {
		t.Fatalf("Run() = %v", err)
	}
	if s, err := l.Check(t.Context(), server.DB()); err != nil {
		t.Errorf("Check() = %+v, %v", s, err)
	}
	if err := l.CheckNothingLost(t.Context(), server.DB()); err != nil {
		t.Error(err)
	}
	if err := load.CheckTables(t.Context(), server.DB()); err != nil {
		t.Error(err)
	}
	t.Logf("%+v", l.Stats())

	// The checks see what they are there for.
	server.Exec(t, "UPDATE bank.accounts SET balance = balance + 1 WHERE id = 7")
	if _, err := l.Check(t.Context(), server.DB()); err == nil {
		t.Error("Check() does not see a changed balance")
	}
	server.Exec(t, "UPDATE bank.counters SET committed = 0 WHERE worker = 2")
	if err := l.CheckNothingLost(t.Context(), server.DB()); err == nil {
		t.Error("CheckNothingLost() does not see lost transfers")
	}
}

// Each cycle works as it stands, also when it finds what an earlier one has left.
func TestCycles(t *testing.T) {
	server := mysqltest.Start(t, mysqltest.Options{})
	if err := load.New(load.Options{Endpoint: server.Root(), DDL: true}).Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range load.CycleNames() {
		for range 2 {
			if err := load.RunCycle(t.Context(), server.DB(), name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if err := load.CheckTables(t.Context(), server.DB()); err != nil {
		t.Error(err)
	}
}

func TestFillAndChecksums(t *testing.T) {
	server := mysqltest.Start(t, mysqltest.Options{})
	const size = 8 << 20
	if err := load.Fill(t.Context(), server.Root(), size, nil); err != nil {
		t.Fatal(err)
	}
	got := server.QueryString(t, "SELECT COUNT(*) * 1024 >= ? FROM shop.orders", size)
	if got != "1" {
		t.Error("Fill() wrote less than it was asked for")
	}
	before, err := load.Checksums(t.Context(), server.DB())
	if err != nil || len(before) != 1 {
		t.Fatalf("Checksums() = %v, %v; want one table", before, err)
	}
	server.Exec(t, "UPDATE shop.orders SET cents = cents + 1 WHERE id = 100")
	after, err := load.Checksums(t.Context(), server.DB())
	if err != nil || after["`shop`.`orders`"] == before["`shop`.`orders`"] {
		t.Errorf("Checksums() = %v, %v; want a change from %v", after, err, before)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := load.Fill(ctx, server.Root(), size, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Fill() = %v, want context.Canceled", err)
	}
}
