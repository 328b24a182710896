package main

import (
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ordinal/agent"
	"ordinal/internal/progress"
)

// addCompletion makes the shell complete what a command takes: subcommands and flags, which cobra knows, and values, of which the table of options
// says in words what they must be. Call it when all commands are there.
func addCompletion(root *cobra.Command, sur *surroundings) {
	// Hardly anything on these command lines is a file: a shell that offers some where none is wanted misleads.
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.CompletionOptions.DisableNoDescFlag = true
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Short = "Print a script that makes a shell complete agent's command lines"
			cmd.Args, cmd.RunE = cobra.ArbitraryArgs, helpOrUnknown
			cmd.SuggestionsMinimumDistance = 2
			for _, shell := range cmd.Commands() {
				shell.Args = noArgs
			}
		}
	}
	completeValues(root)
	for _, name := range []string{"undo", "drop"} {
		if cmd, _, err := root.Find([]string{"quarantine", name}); err == nil {
			cmd.ValidArgsFunction = quarantined(sur)
		}
	}
}

// completeValues does it for every flag of a command and of those below it.
func completeValues(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		// The error is a flag that has a function already, of its own.
		_ = cmd.RegisterFlagCompletionFunc(flag.Name, valuesOf(allowedFor(flag)))
	})
	for _, below := range cmd.Commands() {
		completeValues(below)
	}
}

// choice is a range that names each value: "auto, json or console".
var choice = regexp.MustCompile(`^[a-z-]+(, [a-z-]+)* or [a-z-]+$`)

// valuesOf completes a value of the range in words.
func valuesOf(allowed string) cobra.CompletionFunc {
	switch {
	case choice.MatchString(allowed):
		return cobra.FixedCompletions(strings.Split(strings.ReplaceAll(allowed, " or ", ", "), ", "), cobra.ShellCompDirectiveNoFileComp)
	case strings.Contains(allowed, "path to a directory"):
		return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
	case strings.HasPrefix(allowed, "the path of"):
		return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
	}
	return cobra.NoFileCompletions
}

// quarantined completes the name of data in quarantine.
func quarantined(sur *surroundings) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
		volume := cmd.Flag("volume")
		path := volume.Value.String()
		if fromEnv := sur.getenv("AGENT_VOLUME"); fromEnv != "" && !volume.Changed {
			path = fromEnv
		}
		list, err := agent.ListQuarantine(path)
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp // the command itself will say what is wrong
		}
		for _, e := range list {
			names = append(names, cobra.CompletionWithDesc(e.Name, progress.Bytes(e.Bytes)+", "+clean(e.Message, 80)))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
