package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"ordinal/agent"
)

func newInit(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the pod's volume ready for mysqld, then exit (init container)",
		Long: `init decides what the pod's volume needs: nothing, a clone of the previous pod, or the image's own first initialisation.
It writes mysqld's configuration, and while it works it serves its status. It waits for a donor that is not there yet.`,
		Example: `  agent init --pod-name mysql-2 --service mysql --secret-file /run/secrets/ordinal/cluster-secret
  AGENT_REPLICAS=3 agent init --pod-name db-1 --peer-host 127.0.1.{ordinal} --secret-file ./secret --volume /srv/db-1`,
		Args: noArgs,
	}
	s := addOptions(cmd, cmdInit)
	var plan, asJSON bool
	cmd.Flags().BoolVar(&plan, "plan", false, "print what would be done next, and why; change nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "with --plan: print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if asJSON && !plan {
			return &usageError{text: "--json goes with --plan", command: cmd.CommandPath()}
		}
		log, err := s.prepare(cmd, sur)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		if plan {
			p, err := agent.PlanInit(ctx, s.Config, log)
			if p != nil {
				err = errors.Join(printPlan(sur.stdout, p, asJSON), err)
			}
			return err
		}
		return endOfInit(ctx, agent.Init(ctx, s.Config, log))
	}
	return cmd
}

func endOfInit(ctx context.Context, err error) error {
	return orTerminated(ctx, err, "the volume was ready", "run it again: it goes on or starts over by itself")
}
