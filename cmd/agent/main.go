// Command agent turns the pods of a StatefulSet with the stock mysql image into one replicated MySQL.
//
// This package reads flags and the environment, builds the logger and maps errors to exit codes; what the agent does is in
// package agent.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

//go:generate go test -run TestDocs -update

func main() {
	os.Exit(run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is the whole program but for the exit.
func run(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	return report(stderr, dispatch(ctx, args, &surroundings{getenv, stdout, stderr}))
}

// surroundings are what a command may use of the process it runs in.
type surroundings struct {
	getenv func(string) string
	stdout io.Writer
	stderr io.Writer
}
