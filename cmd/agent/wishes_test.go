package main

import (
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ordinal/internal/volume"
)

// answersWithin bounds how long a script's agent waits to be asked.
const answersWithin = 15 * time.Second

// answers is the agent of a volume for the next wish that a command leaves there: `answers volume 'it was removed'`, or with `refuse` at the
// end, `answers volume 'kept: …' refuse`. It does nothing but to say what came of it.
func answers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 || len(args) == 3 && args[2] != "refuse" {
		ts.Fatalf("usage: answers volume text [refuse]")
	}
	vol, err := volume.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	var agent sync.WaitGroup
	agent.Go(func() {
		defer vol.Close()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for until := time.Now().Add(answersWithin); time.Now().Before(until); <-tick.C {
			if wish, err := vol.Request(); err == nil && wish != nil {
				_ = vol.CloseRequest(wish.ID, args[1], len(args) == 3) // the command says so if this fails
				return
			}
		}
	})
	ts.Defer(agent.Wait)
}
