package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"ordinal/internal/progress"
	"ordinal/internal/testing/load"
)

const (
	orderRows     = 1000 // of one statement
	orderBytes    = 900  // of a row in the data files, about
	orderSessions = 2
	orderTokens   = 9  // of a note, which nothing makes smaller than half
	orderWords    = 48 // of a note
	wordKinds     = 3000
)

// fillOrders puts rows in place of all others that can be compressed as real ones can, to about a third: notes of words that come back
// and tokens that do not. It returns their number.
func (s *site) fillOrders(ctx context.Context, size int64) (rows int64, err error) {
	if err := s.donorExec(ctx, whileFilling...); err != nil {
		return 0, err
	}
	if err := s.donorExec(ctx, "DROP DATABASE IF EXISTS shop", "DROP DATABASE IF EXISTS bank"); err != nil {
		return 0, err
	}
	if err := load.Fill(ctx, s.set.RootEndpoint(donor), 0, nil); err != nil { // only the table
		return 0, err
	}
	for seed := uint64(1); ; {
		if s.files, err = dataFiles(s.set.Pod(donor)); err != nil {
			return 0, err
		}
		missing := size - s.files.bytes
		if missing <= 0 && rows > 0 {
			break
		}
		s.say("%s of data files, %s to come", progress.Bytes(s.files.bytes), progress.Bytes(max(0, missing)))
		batches := max(10, min(fillStep, missing)/orderBytes/orderRows)
		if err := s.addOrders(ctx, seed, uint64(batches)); err != nil {
			return 0, err
		}
		seed, rows = seed+uint64(batches), rows+batches*orderRows
		if err := s.purge(ctx); err != nil {
			return 0, err
		}
	}
	return rows, s.settle(ctx)
}

// addOrders adds batches of rows; each batch is another one for another seed.
func (s *site) addOrders(ctx context.Context, seed, batches uint64) error {
	db, err := s.set.DB(donor)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(orderSessions)
	for i := range batches {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := db.Exec(ctx, ordersStatement(seed+i)); err != nil {
				return fmt.Errorf("write rows: %w", err)
			}
			return nil
		})
	}
	return g.Wait()
}

// ordersStatement inserts a batch. Nothing in it needs quoting.
func ordersStatement(seed uint64) string {
	random := rand.New(rand.NewPCG(seed, 0))
	var b strings.Builder
	b.WriteString("INSERT INTO shop.orders (customer, cents, note) VALUES ")
	for row := range orderRows {
		if row > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "(%d,%d,'", random.IntN(100_000), random.IntN(100_000))
		for range orderTokens {
			fmt.Fprintf(&b, "%016x", random.Uint64())
		}
		for range orderWords {
			b.WriteByte(' ')
			b.WriteString(word(random.IntN(wordKinds)))
		}
		b.WriteString("')")
	}
	return b.String()
}

// word is the n-th word of a language: 5 to 12 letters.
func word(n int) string {
	text := strconv.FormatUint(uint64(n+1)*0x9e3779b97f4a7c15, 36) // 2⁶⁴ by the golden ratio: spreads them
	return text[:min(len(text), 5+n%8)]
}
