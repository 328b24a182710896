package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ordinal/agent"
)

func newPlan(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what the running agent of a pod is about to do, and why",
		Long: `plan asks a pod's agent what it is about to do: the decision, its reasons, GTID sets, bytes, what goes to quarantine and what
would be lost. It changes nothing. What "agent init" would do with a volume, before it runs, is told by "agent init --plan".`,
		Example: `  agent plan                      # in a pod of the set
  agent plan --pod-name mysql-2 --service mysql.shop.svc.cluster.local --json`,
		Args: noArgs,
	}
	s := addOptions(cmd, cmdPlan)
	var asJSON bool
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := s.complete(cmd.Flags(), sur.getenv)
		if err != nil {
			return err
		}
		peers, err := s.Peers()
		if err != nil {
			return from.name(err)
		}
		p, err := (&agent.StatusClient{Peers: peers, Timeout: statusTimeout}).Plan(cmd.Context(), peers.Identity().Ordinal)
		if err != nil {
			return err
		}
		return printPlan(sur.stdout, p, asJSON)
	}
	return cmd
}

// printPlan shows a plan to a person or a program. Much of it comes from the network.
func printPlan(w io.Writer, p *agent.Plan, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(p)
	}
	for _, line := range p.Lines() {
		if _, err := fmt.Fprintln(w, clean(line, 600)); err != nil {
			return err
		}
	}
	return nil
}
