package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commands are a set of commands that take an option.
type commands uint16

const (
	cmdInit commands = 1 << iota
	cmdRun
	cmdStatus
	cmdPlan
	cmdBackup
	cmdBackups
	cmdVerify
	cmdRestore
	cmdBinlog
	cmdArchive
	cmdDoctor
	cmdVolume // those that leave a wish on a pod's volume
)

// What commands have in common decides about the options that they take.
const (
	pods         = cmdInit | cmdRun | cmdDoctor                                 // are in every pod, with the same settings
	setTools     = cmdStatus | cmdPlan | cmdBackup                              // ask the pods of a set
	storeTools   = cmdBackups | cmdVerify | cmdRestore | cmdBinlog | cmdArchive // read what is in a store
	contentTools = cmdVerify | cmdRestore | cmdBinlog                           // of which these read the data itself
)

// commandNames are what the documentation calls the commands.
var commandNames = []struct {
	bit  commands
	name string
}{
	{pods, "init, run, doctor"},
	{cmdInit, "init"},
	{cmdRun, "run"},
	{cmdStatus, "status"},
	{cmdPlan, "plan"},
	{cmdBackup, "backup"},
	{storeTools, "backups, verify, restore, binlog, archive"},
	{cmdBackups, "backups"},
	{cmdVerify, "verify"},
	{cmdRestore, "restore"},
	{cmdBinlog, "binlog"},
	{cmdArchive, "archive"},
	{cmdVolume, "quarantine, rebuild, hold, release"},
}

func (c commands) String() string {
	var names []string
	for _, known := range commandNames {
		if c&known.bit == known.bit {
			names, c = append(names, known.name), c&^known.bit
		}
	}
	return strings.Join(names, ", ")
}

// addOptions adds a flag to cmd for each option that one of takers takes, and returns where their values land.
func addOptions(cmd *cobra.Command, takers commands) *settings {
	s := defaults()
	cmd.Flags().SortFlags = false
	for _, o := range options() {
		if o.takers&takers != 0 {
			o.bind(cmd.Flags(), s, o.name, o.help)
		}
	}
	return s
}

// allowedNote is where a flag that only one command has keeps the range of its values.
const allowedNote = "allowed"

// bound notes the range of a flag in words, to follow "must be".
func bound(cmd *cobra.Command, flag, allowed string) {
	cmd.Flags().Lookup(flag).Annotations = map[string][]string{allowedNote: {allowed}}
}

// notKnown stands for a range that nobody has put into words.
const notKnown = "something else"

// allowed returns the range of an option in words.
func allowed(name string) string {
	for _, o := range options() {
		if o.name == name {
			return o.allowed
		}
	}
	return notKnown
}

// allowedFor is allowed for any flag, also of those that a single command has.
func allowedFor(flag *pflag.Flag) string {
	switch note := flag.Annotations[allowedNote]; {
	case len(note) > 0:
		return note[0]
	case flag.Value.Type() == "bool":
		return "true or false"
	}
	return allowed(flag.Name)
}

// A listValue are the values of a flag that may be given several times. What a value is, is for who uses it.
type listValue []string

// Set adds the values in text, which commas separate.
func (v *listValue) Set(text string) error {
	for value := range strings.SplitSeq(text, ",") {
		if value = strings.TrimSpace(value); value != "" && !slices.Contains(*v, value) {
			*v = append(*v, value)
		}
	}
	return nil
}

func (v *listValue) String() string { return strings.Join(*v, ",") }

// Type is what the help calls the value.
func (v *listValue) Type() string { return "list" }
