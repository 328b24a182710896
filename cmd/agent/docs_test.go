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

Every option of ` + "`agent init`, `agent run` and `agent status`" + ` is a flag and an environment variable. A flag wins over the environment, the
environment over the default. An empty variable counts as unset. Give init and run of all pods the same settings; unknown
flags and values outside their range are refused with exit code 2 before anything is touched.

A secret is never given on the command line: options marked *secret* name a file, read when it is needed.

<!-- Written by go generate ./cmd/agent from cmd/agent/options.go. -->

| Flag | Environment | Type | Default | Must be | Meaning |
|---|---|---|---|---|---|
`)
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, o := range options() {
		s := defaults()
		o.bind(flags, s, o.name, o.help)
		f := flags.Lookup(o.name)
		standard := o.unset
		if standard == "" {
			standard = "`" + f.DefValue + "`"
		}
		help := o.help
		if o.secret {
			help += " (*secret*)"
		}
		if o.status {
			help += " †"
		}
		fmt.Fprintf(&doc, "| `--%s` | `%s` | %s | %s | %s | %s |\n", o.name, strings.Join(o.variables(), "`, `"), f.Value.Type(), standard, o.allowed, help)
	}
	fmt.Fprintf(&doc, "| | `%s` | string | none | any text | the password of MySQL's root itself, as the image takes it; there is no flag for it (*secret*) |\n", rootPasswordEnv)
	doc.WriteString(`
† also taken by ` + "`agent status`" + `.

- The pod's name comes from ` + "`--pod-name`, `AGENT_POD_NAME`, `POD_NAME` or, if it ends in -N, `HOSTNAME`" + `. With ` + "`--ordinal`" + ` the name may be just the set's.
- ` + "`MYSQL_ROOT_PASSWORD` and `MYSQL_ROOT_PASSWORD_FILE`" + ` together are refused, as the image does. Newlines at the end of the file do not count.
- ` + "`agent status` has `--json` and `--watch`; `NO_COLOR`" + ` turns colours off.
`)
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

// Each option has what the documentation needs, and each flag of a command comes from the table.
func TestOptionTable(t *testing.T) {
	known := map[string]bool{"json": true, "watch": true, "help": true, "version": true, "plan": true, "reason": true, "even-the-last-copy": true}
	variables := map[string]string{}
	for _, o := range options() {
		if known[o.name] {
			t.Errorf("--%s is there twice", o.name)
		}
		known[o.name] = true
		if o.help == "" || o.allowed == "" || o.bind == nil {
			t.Errorf("--%s lacks help, range or field", o.name)
		}
		for _, v := range o.variables() {
			if other, ok := variables[v]; ok {
				t.Errorf("%s is for --%s and --%s", v, other, o.name)
			}
			variables[v] = o.name
		}
	}
	for _, cmd := range newRoot(&surroundings{}).Commands() {
		checkFlags(t, cmd, known)
	}
}

func checkFlags(t *testing.T, cmd *cobra.Command, known map[string]bool) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !known[f.Name] {
			t.Errorf("agent %s --%s is not in the table of options", cmd.Name(), f.Name)
		}
		if f.Name == "password" || strings.HasSuffix(f.Name, "-password") || strings.HasSuffix(f.Name, "-secret") {
			t.Errorf("agent %s --%s would put a secret on the command line", cmd.Name(), f.Name)
		}
	})
}
