package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestDocsConfiguration(t *testing.T) {
	var doc strings.Builder
	doc.WriteString(`# Configuration

Every option below is a flag and an environment variable. A flag wins over the environment, the environment over the default. An empty variable counts as
unset. Give init and run of all pods the same settings; unknown flags and values outside their range are refused with exit code 2 before anything is touched.

A secret is never given on the command line: options marked *secret* name a file, read when it is needed.

<!-- Written by go generate ./cmd/agent from cmd/agent/options.go. -->

| Flag | Environment | Commands | Type | Default | Must be | Meaning |
|---|---|---|---|---|---|---|
`)
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	table := map[string]bool{}
	for _, o := range options() {
		o.bind(flags, defaults(), o.name, o.help)
		table[o.name] = true
		f := flags.Lookup(o.name)
		standard := o.unset
		if standard == "" {
			standard = "`" + f.DefValue + "`"
		}
		help := o.help
		if o.secret {
			help += " (*secret*)"
		}
		fmt.Fprintf(&doc, "| `--%s` | `%s` | %s | %s | %s | %s | %s |\n", o.name, strings.Join(o.variables(), "`, `"), o.takers, f.Value.Type(), standard, o.allowed, help)
	}
	fmt.Fprintf(&doc, "| | `%s` | init, run | string | none | any text | the password of MySQL's root itself, as the image takes it; there is no flag for it (*secret*) |\n", rootPasswordEnv)
	doc.WriteString(`
- The pod's name comes from ` + "`--pod-name`, `AGENT_POD_NAME`, `POD_NAME` or, if it ends in -N, `HOSTNAME`" + `. With ` + "`--ordinal`" + ` the name may be just the set's.
- Who is no pod of the set, such as a Job, gives ` + "`--set`" + `: it wins over all of these.
- ` + "`MYSQL_ROOT_PASSWORD` and `MYSQL_ROOT_PASSWORD_FILE`" + ` together are refused, as the image does. Newlines at the end of the file do not count.
- A store's credentials come from the environment, a file or a role, as for other tools: ` + "`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, `AWS_SHARED_CREDENTIALS_FILE`" + `, and so on.
- ` + "`NO_COLOR`" + ` turns colours off.

## Flags of single commands

These are flags only.

| Command | Flag | Type | Default | Must be | Meaning |
|---|---|---|---|---|---|
`)
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if table[f.Name] || f.Name == "help" || f.Name == "version" {
				return
			}
			standard := "none"
			if f.DefValue != "" && f.DefValue != "[]" {
				standard = "`" + f.DefValue + "`"
			}
			fmt.Fprintf(&doc, "| %s | `--%s` | %s | %s | %s | %s |\n", strings.TrimPrefix(cmd.CommandPath(), "agent "), f.Name, f.Value.Type(), standard, allowedFor(f), f.Usage)
		})
		for _, below := range cmd.Commands() {
			walk(below)
		}
	}
	for _, cmd := range newRoot(&surroundings{}).Commands() {
		walk(cmd)
	}
	checkDoc(t, "../../docs/configuration.md", doc.String())
}

func TestDocsExitCodes(t *testing.T) {
	var doc strings.Builder
	doc.WriteString(`# Exit codes

Exit codes are an API: act on them in Jobs (` + "`podFailurePolicy.onExitCodes`" + `) and scripts. They are only ever added to. Beside the code the
program prints one line that says what failed and, mostly, a line ` + "`hint:`" + ` that says what to do. *Retry* means that the same command may
succeed later with nothing changed.

<!-- Written by go generate ./cmd/agent from cmd/agent/exit.go. -->

| Code | Name | Retry | Meaning |
|---|---|---|---|
`)
	last := -1
	for _, e := range exitCodes {
		if e.code <= last || e.code > 143 {
			t.Errorf("exit code %d comes after %d", e.code, last)
		}
		last = e.code
		retry := ""
		if e.retry {
			retry = "yes"
		}
		fmt.Fprintf(&doc, "| %d | %s | %s | %s |\n", e.code, e.name, retry, e.meaning)
	}
	checkDoc(t, "../../docs/exit-codes.md", doc.String())
}

// Each option has what the documentation needs, and somebody who takes it. No command has a flag of its own with an option's name, or one for a secret.
func TestOptionTable(t *testing.T) {
	options, variables := map[string]option{}, map[string]string{}
	for _, o := range optionsOf(t) {
		options[o.name] = o
		for _, v := range o.variables() {
			if other, ok := variables[v]; ok {
				t.Errorf("%s is for --%s and --%s", v, other, o.name)
			}
			variables[v] = o.name
		}
	}
	checkFlags(t, newRoot(&surroundings{}), options)
}

func optionsOf(t *testing.T) []option {
	t.Helper()
	seen := map[string]bool{}
	for _, o := range options() {
		if seen[o.name] {
			t.Errorf("--%s is there twice", o.name)
		}
		seen[o.name] = true
		if o.help == "" || o.allowed == "" || o.bind == nil || o.takers == 0 || o.takers.String() == "" {
			t.Errorf("--%s lacks help, range, field or commands", o.name)
		}
	}
	return options()
}

func checkFlags(t *testing.T, cmd *cobra.Command, options map[string]option) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if o, ok := options[f.Name]; ok && o.help != f.Usage {
			t.Errorf("%s --%s is not the one of the table of options", cmd.CommandPath(), f.Name)
		}
		if f.Name == "password" || strings.HasSuffix(f.Name, "-password") || strings.HasSuffix(f.Name, "-secret") || strings.HasSuffix(f.Name, "passphrase") {
			t.Errorf("%s --%s would put a secret on the command line", cmd.CommandPath(), f.Name)
		}
		if allowedFor(f) == notKnown && f.Name != "help" && f.Name != "version" {
			t.Errorf("%s --%s does not say what its value must be", cmd.CommandPath(), f.Name)
		}
	})
	for _, below := range cmd.Commands() {
		checkFlags(t, below, options)
	}
}
