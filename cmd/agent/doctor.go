package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ordinal/agent"
	"ordinal/backup"
	"ordinal/backup/store"
	"ordinal/doctor"
)

// doctorPatience is how long a store that does not answer is tried: the whole examination takes no longer than ten seconds.
var doctorPatience = store.Patience{Total: 4 * time.Second}

func newDoctor(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for misconfigurations of this pod, and say what to do about each",
		Long: `doctor looks at this pod and at what it sees of the others: names, ports, secrets, the volume, mysqld, stores. It says of each fault what is wrong,
why that matters and what to do. It changes nothing and takes ten seconds at most. Give it the options and the environment of "agent run", as in the
agent's container; what cannot be seen yet, before the first start, is listed as not checked.

It exits 0 if there is no fault, warnings or not, and 78 if there is one.`,
		Example: `  kubectl exec mysql-1 -c agent -- /agent doctor
  agent doctor --pod-name db-1 --peer-host 127.0.1.{ordinal} --replicas 3 --secret-file ./secret --volume /srv/db-1
  agent doctor --json | jq '.checks[] | select(.state == "fault")'`,
		Args: noArgs,
	}
	s := addOptions(cmd, cmdDoctor)
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := s.complete(cmd.Flags(), sur.getenv)
		if err != nil {
			return err
		}
		if err := s.usable(); err != nil {
			return from.name(err)
		}
		s.Backups.Keys = func() (backup.Keys, error) { return s.contentKeys(from) }
		report := doctor.Examine(cmd.Context(), doctor.Surroundings{
			Config: s.Config, Resolver: net.DefaultResolver, Built: builtAt(),
			Open: func(url string) (store.Store, error) {
				opened, _, err := openURL(url, from.source("store"), sur, doctorPatience)
				return opened, err
			},
		})
		if err := cmd.Context().Err(); err != nil {
			return &terminatedError{"everything was looked at", "run it again", err}
		}
		if err := printReport(sur.stdout, report, *asJSON); err != nil {
			return fmt.Errorf("print the report: %w", err)
		}
		return verdictOf(report)
	}
	return cmd
}

// usable refuses values that no command takes. The pod's name and the secret are for the doctor to judge.
func (s *settings) usable() error {
	c := s.Config
	c.SecretFile = cmp.Or(c.SecretFile, "unknown")
	err := c.Validate()
	var name *agent.PodNameError
	if errors.As(err, &name) {
		c.PodName, c.Ordinal = "mysql-"+fmt.Sprint(max(c.FirstOrdinal, 0)), -1
		err = c.Validate()
	}
	return err
}

// builtAt is when the program's sources were committed; zero: not known.
func builtAt() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.time" {
			at, _ := time.Parse(time.RFC3339, setting.Value) // zero if it is none
			return at
		}
	}
	return time.Time{}
}

// verdictOf returns nil unless something is wrong.
func verdictOf(r doctor.Report) error {
	if n := r.Count(doctor.Fault); n > 0 {
		return &doctorError{n}
	}
	return nil
}

type doctorError struct{ faults int }

func (e *doctorError) Error() string { return "doctor: " + count(e.faults, "fault") }
func (e *doctorError) ExitCode() int { return agent.ExitConfig }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// doctorReport is what `agent doctor --json` prints. Fields are only ever added.
type doctorReport struct {
	Faults     int       `json:"faults"`
	Warnings   int       `json:"warnings"`
	NotChecked int       `json:"not_checked"`
	ExaminedAt time.Time `json:"examined_at"`
	doctor.Report
}

func printReport(w io.Writer, r doctor.Report, asJSON bool) error {
	faults, warnings, unseen := r.Count(doctor.Fault), r.Count(doctor.Warning), r.Count(doctor.NotChecked)
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(doctorReport{faults, warnings, unseen, time.Now().UTC().Round(time.Millisecond), r})
	}
	var out bytes.Buffer
	fmt.Fprintln(&out, headline(r))
	if r.Says != "" {
		fmt.Fprintf(&out, "its agent says: %s\n", clean(r.Says, maxDoctorText))
	}
	for _, state := range []doctor.State{doctor.Fault, doctor.Warning} {
		for _, c := range r.Results {
			if c.State == state {
				fmt.Fprintf(&out, "\n%s %s: %s\n  why: %s\n  fix: %s\n", strings.ToUpper(string(state)), c.ID, clean(c.What, maxDoctorText), c.Why, indented(c.Fix))
			}
		}
	}
	fmt.Fprintf(&out, "\nok: %s\n", cmp.Or(ids(r, "\n  ", func(c doctor.Result) bool { return c.State == doctor.OK }), "nothing"))
	if unseen > 0 {
		fmt.Fprintln(&out, "not checked:")
	}
	for _, why := range reasons(r) {
		fmt.Fprintf(&out, "  %s: %s\n", ids(r, "\n  ", func(c doctor.Result) bool { return c.State == doctor.NotChecked && c.What == why }), clean(why, maxDoctorText))
	}
	_, err := w.Write(out.Bytes())
	return err
}

// maxDoctorText bounds a line that may repeat what came from the network, in runes.
const maxDoctorText = 1000

// headline says it all in one line: what is wrong, where, and where to begin.
func headline(r doctor.Report) string {
	who := cmp.Or(r.Pod, "this pod")
	if r.Role != "" {
		who += " (" + r.Role + ")"
	}
	faults, warnings := r.Count(doctor.Fault), r.Count(doctor.Warning)
	text := who + ": "
	switch {
	case faults > 0 && warnings > 0:
		text += count(faults, "fault") + " and " + count(warnings, "warning")
	case faults > 0:
		text += count(faults, "fault")
	case warnings > 0:
		text += "no fault, " + count(warnings, "warning")
	default:
		text += "nothing wrong"
	}
	if faults > 1 {
		text += ", begin with the first"
	}
	return fmt.Sprintf("%s; %d checks ok, %d not made", text, r.Count(doctor.OK), r.Count(doctor.NotChecked))
}

// indented keeps what follows the first line of a remedy below it.
func indented(fix string) string {
	var lines []string
	for line := range strings.Lines(fix) {
		lines = append(lines, clean(strings.TrimRight(line, "\n"), maxDoctorText))
	}
	return strings.Join(lines, "\n       ")
}

// reasons are why checks were not made, each once.
func reasons(r doctor.Report) (all []string) {
	for _, c := range r.Results {
		if c.State == doctor.NotChecked && !slices.Contains(all, c.What) {
			all = append(all, c.What)
		}
	}
	return all
}

// ids names the checks that are meant, in lines that fit a terminal.
func ids(r doctor.Report, newLine string, meant func(doctor.Result) bool) string {
	const width = 100
	var out strings.Builder
	used := 0
	for _, c := range r.Results {
		if !meant(c) {
			continue
		}
		switch {
		case used == 0:
		case used+len(c.ID) > width:
			out.WriteString("," + newLine)
			used = 0
		default:
			out.WriteString(", ")
		}
		out.WriteString(c.ID)
		used += len(c.ID) + 2
	}
	return out.String()
}
