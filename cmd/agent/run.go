package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"ordinal/agent"
	"ordinal/internal/trust"
)

func newRun(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Keep mysqld in its role until told to stop (sidecar)",
		Long: `run watches this pod's mysqld and keeps it in its role: accounts, read-only state, replication.
It serves clones to other pods, and probes and status to everybody. It ends with SIGTERM, exit code 0.`,
		Example: `  agent run --pod-name mysql-2 --service mysql --secret-file /run/secrets/ordinal/cluster-secret`,
		Args:    noArgs,
	}
	s := addOptions(cmd, cmdRun)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		log, err := s.prepare(cmd, sur)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		return endOfRun(ctx, agent.Run(ctx, s.Config, log))
	}
	return cmd
}

// endOfRun: being told to stop is how a sidecar is meant to end.
func endOfRun(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// prepare merges and checks all options before anything is touched, and returns the logger.
func (s *settings) prepare(cmd *cobra.Command, sur *surroundings) (*zap.Logger, error) {
	from, err := s.complete(cmd.Flags(), sur.getenv)
	if err != nil {
		return nil, err
	}
	s.AgentVersion = version
	log, err := newLogger(sur.stderr, s.logLevel, s.logFormat)
	if err != nil {
		return nil, from.name(err)
	}
	if err := s.Validate(); err != nil {
		return nil, from.name(err)
	}
	if err := s.prepareBackups(from, sur); err != nil {
		return nil, err
	}
	// The agent reads the secret itself; a bad one is said here, before locks, listeners and log lines.
	if _, err := trust.LoadSecret(s.SecretFile); err != nil {
		return nil, err
	}
	return log, nil
}
