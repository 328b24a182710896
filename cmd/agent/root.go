package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ordinal/agent"
)

// dispatch runs the command that args name.
func dispatch(ctx context.Context, args []string, sur *surroundings) error {
	root := newRoot(sur)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

func newRoot(sur *surroundings) *cobra.Command {
	root := &cobra.Command{
		Use:   "agent",
		Short: "Replicated MySQL from a plain StatefulSet of the stock image",
		Long: `agent turns the pods of a StatefulSet with the stock mysql image into one replicated MySQL.

As an init container, "agent init" makes the pod's volume ready: it clones the previous pod's data if there is none yet.
As a sidecar, "agent run" keeps mysqld in its role: the first ordinal is the source, all others are its replicas.
As a Job, "agent backup" makes a backup into a store; "agent restore" makes data of it again, as of any point in time.

Each option can also be given in the environment: --pod-name is AGENT_POD_NAME. A flag wins over the environment.`,
		SilenceErrors: true, // report prints them
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // else cobra words the error, on many lines
	}
	// Not cobra's own flag: its templates would keep every method of every type in the binary, a fifth of its size.
	var version bool
	root.Flags().BoolVarP(&version, "version", "v", false, "print the version")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if version && len(args) == 0 {
			_, err := fmt.Fprintln(sur.stdout, versionText())
			return err
		}
		return helpOrUnknown(cmd, args)
	}
	root.SuggestionsMinimumDistance = 2
	root.SetOut(sur.stdout)
	root.SetErr(sur.stderr)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newInit(sur), newRun(sur), newStatus(sur), newPlan(sur), newDoctor(sur), newQuarantine(sur), newRebuild(sur), newHold(sur), newRelease(sur),
		newBackup(sur), newBackups(sur), newVerify(sur), newRestore(sur), newBinlog(sur), newArchive(sur), newVersion(sur))
	addCompletion(root, sur)
	return root
}

// helpOrUnknown is what a command does that only has commands below it.
func helpOrUnknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	err := &usageError{text: fmt.Sprintf("unknown command %q", args[0]), command: cmd.CommandPath()}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err.hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return err
}

// noArgs refuses words that are no flags.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return &usageError{text: fmt.Sprintf("unexpected argument %q", args[0]), command: cmd.CommandPath()}
}

// usageError says that the command line is not one.
type usageError struct {
	text    string
	hint    string // "": where help is
	command string
}

func (e *usageError) Error() string { return e.text }

func (e *usageError) Hint() string {
	if e.hint != "" {
		return e.hint
	}
	return fmt.Sprintf("see %s --help", e.command)
}

func (e *usageError) ExitCode() int { return agent.ExitUsage }

// flagError words what pflag found wrong.
func flagError(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return &agent.OptionError{Flag: invalid.GetFlag().Name, Value: invalid.GetValue(), Allowed: allowedFor(invalid.GetFlag())}
	}
	out := &usageError{text: err.Error(), command: cmd.CommandPath()}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		if near := nearestFlag(cmd.Flags(), unknown.GetSpecifiedName()); near != "" {
			out.hint = "did you mean --" + near + "?"
		}
	}
	return out
}

// nearestFlag returns the flag that name was probably meant to be, or nothing.
func nearestFlag(flags *pflag.FlagSet, name string) string {
	best, least := "", max(2, len(name)/3)+1
	flags.VisitAll(func(f *pflag.Flag) {
		d := editDistance(name, f.Name)
		if strings.HasPrefix(f.Name, name) && len(name) > 2 {
			d = 1
		}
		if d < least {
			best, least = f.Name, d
		}
	})
	return best
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = slices.Min([]int{cost, row[j] + 1, row[j+1] + 1})
		}
	}
	return row[len(b)]
}
