package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"ordinal/agent"
	"ordinal/internal/progress"
)

func newQuarantine(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "quarantine",
		Short: "List, bring back or drop data that was taken out of service",
		Long: `Whatever the agent takes out of service is kept on the volume, under quarantine/, with the reason. Nothing there is used by mysqld.

  list   what is there, why, how large, and what of it no other pod has
  undo   bring data back into service; what is in service goes to quarantine instead
  drop   remove data for good; refused where it holds the last copy of a transaction`,
		Args: cobra.ArbitraryArgs,
		RunE: helpOrUnknown,
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(newQuarantineList(sur), newQuarantineUndo(sur), newQuarantineDrop(sur))
	return cmd
}

func newQuarantineList(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List what is in quarantine", Args: noArgs}
	s := addOptions(cmd, cmdVolume)
	var asJSON bool
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := s.complete(cmd.Flags(), sur.getenv)
		if err != nil {
			return err
		}
		if err := agent.CheckVolume(s.Volume); err != nil {
			return from.name(err)
		}
		list, err := agent.ListQuarantine(s.Volume)
		if err != nil {
			return from.name(err)
		}
		if asJSON {
			return json.NewEncoder(sur.stdout).Encode(map[string]any{"quarantine": list})
		}
		return printQuarantine(sur.stdout, list)
	}
	return cmd
}

func printQuarantine(w io.Writer, list []agent.QuarantineEntry) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "nothing is in quarantine")
		return err
	}
	for _, e := range list {
		only := "every transaction in it was elsewhere when it was put there"
		switch {
		case e.Problem != "":
			only = e.Problem
		case e.OnlyHere != "":
			only = "no other pod had: " + clean(e.OnlyHere, 300)
		}
		if _, err := fmt.Fprintf(w, "%s  %s  %s  %s\n  %s\n", e.Name, progress.Bytes(e.Bytes), e.At.UTC().Format(time.RFC3339), clean(e.Message, 300), only); err != nil {
			return err
		}
	}
	return nil
}

func newQuarantineUndo(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "undo NAME",
		Short: "Bring data back into service",
		Long: `undo asks the agent to bring the data called NAME back. On a replica it is done at once, with a restart of mysqld; on a source by "agent init", when
nobody writes: delete the pod, or start it again. What is in service goes to quarantine, so that undo can be undone. What was taken out of service for
a reason is taken out for the same reason again: see agent hold.`,
		Example: `  agent quarantine list
  agent quarantine undo 20261121T101500Z-binlogs_purged`,
		Args: oneName,
	}
	return wishes(cmd, sur, "recorded: it is brought back when the pod starts the next time (delete the pod)", func(s *settings, name string) (agent.Wish, error) {
		return agent.RequestUndo(s.Volume, name)
	})
}

func newQuarantineDrop(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drop NAME",
		Short: "Remove data in quarantine for good",
		Long: `drop asks the running agent to remove the data called NAME. It is refused where NAME holds transactions that the source does not have,
or where that cannot be found out: --even-the-last-copy removes it all the same.`,
		Args: oneName,
	}
	force := cmd.Flags().Bool("even-the-last-copy", false, "remove it although no other pod has all of its transactions")
	return wishes(cmd, sur, "recorded: it is done when agent run runs on this volume", func(s *settings, name string) (agent.Wish, error) {
		return agent.RequestDrop(s.Volume, name, *force)
	})
}

func newRebuild(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Ask for a new copy of a pod's data",
		Long: `rebuild asks the agent to replace the pod's data by a new copy of another pod's. A replica goes on serving reads meanwhile. A source does it
at its next start, and only if a sibling has data. The old data is kept in quarantine.`,
		Args: noArgs,
	}
	return asks(cmd, sur, func(s *settings, _ string) (string, error) {
		_, err := agent.RequestRebuild(s.Volume)
		return "recorded: a replica begins at once, a source when its pod starts the next time", err
	})
}

func newHold(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hold",
		Short: "Ask the agent not to start replication that somebody stopped",
		Long: `hold leaves a mark on the volume. As long as it is there the agent does not start, configure or rebuild replication on this pod. It goes on to
keep a replica read-only, and to stop it from following a stranger.`,
		Example: `  agent hold --reason "upgrade of the reports server"
  agent release`,
		Args: noArgs,
	}
	reason := cmd.Flags().String("reason", "", "why, for whoever looks at the pod's status")
	bound(cmd, "reason", "one line")
	return asks(cmd, sur, func(s *settings, _ string) (string, error) {
		return "the agent does not start replication here until: agent release", agent.Hold(s.Volume, *reason)
	})
}

func newRelease(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{Use: "release", Short: "End what agent hold asked for", Args: noArgs}
	return asks(cmd, sur, func(s *settings, _ string) (string, error) {
		return "the agent keeps replication running again", agent.Release(s.Volume)
	})
}

// outcomeWithin is how long a command waits for what comes of its wish.
const outcomeWithin = 20 * time.Second

// wishes makes a command that leaves a wish on the volume and tells what came of it, or later if nobody looked at it in time.
func wishes(cmd *cobra.Command, sur *surroundings, later string, wish func(s *settings, name string) (agent.Wish, error)) *cobra.Command {
	return asks(cmd, sur, func(s *settings, name string) (string, error) {
		w, err := wish(s, name)
		if err != nil {
			return "", err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), outcomeWithin)
		defer cancel()
		outcome, answered, err := w.Await(ctx)
		if err == nil && !answered {
			outcome = later
		}
		return outcome, err
	})
}

// asks makes a command that leaves a wish on the volume.
func asks(cmd *cobra.Command, sur *surroundings, ask func(s *settings, name string) (done string, err error)) *cobra.Command {
	s := addOptions(cmd, cmdVolume)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		from, err := s.complete(cmd.Flags(), sur.getenv)
		if err != nil {
			return err
		}
		if err := agent.CheckVolume(s.Volume); err != nil {
			return from.name(err)
		}
		name := ""
		if len(args) > 0 {
			name = args[0]
		}
		done, err := ask(s, name)
		if err != nil {
			return from.name(err)
		}
		_, err = fmt.Fprintln(sur.stdout, done)
		return err
	}
	return cmd
}

// oneName wants the name of something in quarantine.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		return nil
	}
	return &usageError{text: "the name of one entry is needed", hint: "see agent quarantine list", command: cmd.CommandPath()}
}
