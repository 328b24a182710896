package agent

import (
	"context"
	"sync"
)

// askAll asks the pods with these ordinals at once, and returns the answers in their order.
func askAll(ctx context.Context, client *PeerClient, ordinals []int) []PeerAnswer {
	answers := make([]PeerAnswer, len(ordinals))
	var g sync.WaitGroup
	for n, ordinal := range ordinals {
		g.Go(func() { answers[n] = client.Ask(ctx, ordinal) })
	}
	g.Wait()
	return answers
}
