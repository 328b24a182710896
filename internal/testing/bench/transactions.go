package main

import (
	"context"
	"fmt"
	"math/rand/v2"

	"golang.org/x/sync/errgroup"

	"ordinal/mysqlx"
)

// writers is how many sessions write what is to be replayed: enough that transactions are independent of each other.
const writers = 16

// writeTransactions writes transactions of one row each to the table of orders, three new rows and then a change of an old one, wherever
// that lies.
func (s *site) writeTransactions(ctx context.Context, n int) error {
	if err := s.donorExec(ctx, whileFilling...); err != nil {
		return err
	}
	rows, err := s.set.Query(ctx, donor, "SELECT MAX(id) FROM shop.orders")
	if err != nil {
		return err
	}
	var last int64
	if _, err := fmt.Sscan(rows[0][0], &last); err != nil {
		return fmt.Errorf("the last id of shop.orders: %w", err)
	}
	g, writing := errgroup.WithContext(ctx)
	for writer := range writers {
		g.Go(func() error {
			db, err := mysqlx.Open(s.set.RootEndpoint(donor)) // its sessions are few
			if err != nil {
				return err
			}
			defer db.Close()
			random := rand.New(rand.NewPCG(uint64(writer), 1))
			for i := writer; i < n; i += writers {
				if err := db.Exec(writing, transaction(i/writers, last, random)); err != nil {
					return fmt.Errorf("write what is to be replayed: %w", err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return s.donorExec(ctx, whileQuiet...)
}

func transaction(i int, last int64, random *rand.Rand) string {
	if i%4 == 3 {
		return fmt.Sprintf("UPDATE shop.orders SET cents = cents + 1 WHERE id = %d", 1+random.Int64N(last))
	}
	return fmt.Sprintf("INSERT INTO shop.orders (customer, cents, note) VALUES (%d, %d, '%016x %s')", random.IntN(100_000), random.IntN(100_000),
		random.Uint64(), word(random.IntN(wordKinds)))
}
