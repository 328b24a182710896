package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// way is a way to clone by the agent: what both ends are told.
type way struct {
	Name string   `json:"name"`
	Args []string `json:"args"`
}

// defaultWays are the two ways in which the files leave the donor. The first is the one that is meant to win. Nothing is compressed: the
// rows of load.Fill repeat themselves as no real ones do.
var defaultWays = ways{
	{Name: "agent, direct", Args: []string{"--copy=direct", "--compress=off"}},
	{Name: "agent, server", Args: []string{"--copy=server", "--compress=off"}},
}

// with is the way with more flags under another name.
func (w way) with(name string, args ...string) way {
	return way{Name: name, Args: append(w.Args[:len(w.Args):len(w.Args)], args...)}
}

func (w way) flags() string { return strings.Join(w.Args, " ") }

// ways is a flag that may be repeated.
type ways []way

// Set adds a way as a user wrote it: "3 workers: --clone-workers=3".
func (w *ways) Set(text string) error {
	name, args, ok := strings.Cut(text, ":")
	added := way{Name: strings.TrimSpace(name), Args: strings.Fields(args)}
	if !ok || added.Name == "" {
		return errors.New(`want "NAME: FLAGS", like "3 workers: --clone-workers=3"`)
	}
	for _, arg := range added.Args {
		if flag, _, ok := strings.Cut(arg, "="); !ok || !strings.HasPrefix(flag, "--") {
			return fmt.Errorf("flag %q: want --NAME=VALUE", arg)
		}
	}
	*w = append(*w, added)
	return nil
}

func (w *ways) String() string {
	var texts []string
	for _, way := range *w {
		texts = append(texts, fmt.Sprintf("%q", way.Name+": "+way.flags()))
	}
	return strings.Join(texts, " ")
}

// known says for which ways the agent has all flags, going by its help: an older agent can be measured, too.
func known(ctx context.Context, agent string) (func(way) bool, error) {
	var help [2][]byte
	for i, subcommand := range []string{"init", "run"} {
		var err error
		if help[i], err = exec.CommandContext(ctx, agent, subcommand, "--help").Output(); err != nil {
			return nil, fmt.Errorf("%s %s --help: %w", agent, subcommand, err)
		}
	}
	return func(w way) bool { return hasFlags(help[0], w.Args) && hasFlags(help[1], w.Args) }, nil
}

// hasFlags says whether a help text has a line for each flag.
func hasFlags(help []byte, args []string) bool {
	for _, arg := range args {
		flag, _, _ := strings.Cut(arg, "=")
		if !bytes.Contains(help, []byte(" "+flag+" ")) {
			return false
		}
	}
	return true
}
