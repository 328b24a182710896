package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	agent  string
	dirs   list
	phases list

	size   byteSize // of the data files that are copied
	rounds int
	ways   ways
	starts int // of agent init on a complete volume

	connections int           // of the load
	window      time.Duration // longest time for which transactions are counted during a clone
	rest        time.Duration // for which they are counted between two clones
	rate        byteSize      // of the limited clone, per second
	latency     time.Duration // --donor-latency-limit of a limited clone; 0: by what is measured without a clone

	memory sizes // data files while memory is watched
	tables int   // small tables

	transactions int // that are replayed

	json, markdown bool
	docs, from     string
}

// Phases, in the order in which they run.
const (
	phaseCopies  = "copies"
	phaseWrites  = "writes"
	phaseBackups = "backups"
	phaseMemory  = "memory"
	phaseTables  = "tables"
)

// quick are the values of -quick: everything once, nothing to rely on.
var quick = map[string]string{
	"size": "200MB", "rounds": "1", "starts": "3", "window": "5s", "rest": "2s", "memory": "200MB,300MB", "tables": "300",
	"transactions": "2000",
}

// parse reads the command line. It prints what is wrong and returns false if something is.
func parse(args []string, stderr io.Writer) (o options, ok bool) {
	o = options{dirs: list{placeDisk, placeMemory}, phases: list{phaseCopies, phaseWrites, phaseBackups, phaseMemory, phaseTables},
		size: 2e9, rate: 50e6, memory: sizes{2e9, 8e9}}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.agent, "agent", "bin/agent", "the agent's program; built from source if it does not exist")
	flags.Var(&o.dirs, "dirs", "where to put the data, one after the other: disk (the temporary folder), mem (a memory file system), paths")
	flags.Var(&o.phases, "phases", "what to measure; backups, memory and tables only in the first of -dirs")
	quickly := flags.Bool("quick", false, "a look: everything once, with little data, where another flag does not say otherwise")

	flags.Var(&o.size, "size", "data files to copy, at least")
	flags.IntVar(&o.rounds, "rounds", 3, "how often each contender runs")
	flags.Var(&o.ways, "way", `a way to clone by the agent, "NAME: FLAGS" for both ends; may be repeated; the first is held against the aims`+
		` (default `+defaultWays.String()+`)`)
	flags.IntVar(&o.starts, "starts", 20, "how often agent init is run on a complete volume")

	flags.IntVar(&o.connections, "connections", 4, "sessions that write to the source while it is cloned")
	flags.DurationVar(&o.window, "window", time.Minute, "the longest time for which transactions are counted during a clone")
	flags.DurationVar(&o.rest, "rest", 5*time.Second, "for how long they are counted between two clones")
	flags.Var(&o.rate, "rate", "--max-rate of a limited clone, per second")
	flags.DurationVar(&o.latency, "latency", 0, "--donor-latency-limit of a limited clone; 0: a tenth above what commits take without a clone")

	flags.Var(&o.memory, "memory", "data files while memory is watched")
	flags.IntVar(&o.tables, "tables", 20000, "small tables")
	flags.IntVar(&o.transactions, "transactions", 20000, "transactions that are archived after a backup, and replayed")

	flags.BoolVar(&o.json, "json", false, "print JSON instead of tables")
	flags.BoolVar(&o.markdown, "markdown", false, "print Markdown instead of tables")
	flags.StringVar(&o.docs, "docs", "", "a file in which to replace the results, between its two marks")
	flags.StringVar(&o.from, "from", "", "measure nothing: take the results from this file, which -json has printed")
	if flags.Parse(args) != nil {
		return o, false
	}
	if *quickly {
		given := map[string]bool{}
		flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
		for name, value := range quick {
			if !given[name] {
				_ = flags.Set(name, value) // ours: see the test
			}
		}
	}
	if len(o.ways) == 0 {
		o.ways = defaultWays
	}
	if problem := o.problem(flags.NArg()); problem != "" {
		fmt.Fprintf(stderr, "bench: %s\n", problem)
		return o, false
	}
	return o, true
}

func (o options) problem(extra int) string {
	known := list{phaseCopies, phaseWrites, phaseBackups, phaseMemory, phaseTables}
	switch {
	case extra > 0:
		return "takes no arguments"
	case o.size < 50e6 || o.rounds < 1 || o.starts < 1 || o.tables < 1 || o.transactions < 1 || o.connections < 1 || o.rate < 1:
		return "want -size of 50MB or more, and at least 1 for all that is counted"
	case o.window <= 0 || o.rest <= 0 || o.latency < 0:
		return "want times above 0"
	case len(o.dirs) == 0:
		return "no -dirs"
	case len(o.memory) == 0 && slices.Contains(o.phases, phaseMemory):
		return "no -memory"
	case o.json && o.markdown:
		return "want one of -json and -markdown"
	}
	for _, phase := range o.phases {
		if !slices.Contains(known, phase) {
			return fmt.Sprintf("unknown phase %q, want some of %v", phase, &known)
		}
	}
	return ""
}

// byteSize is a flag in bytes, with a decimal unit if one is given.
type byteSize int64

// Set parses what a user wrote.
func (b *byteSize) Set(s string) error {
	number, factor := strings.ToUpper(s), 1.0
	for _, unit := range []struct {
		name   string
		factor float64
	}{{"GB", 1e9}, {"MB", 1e6}} {
		if n, ok := strings.CutSuffix(number, unit.name); ok {
			number, factor = n, unit.factor
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !(n >= 0 && n*factor <= 1e15) { // in a form that refuses NaN
		return errors.New("want a size like 300MB or 2GB")
	}
	*b = byteSize(n * factor)
	return nil
}

func (b *byteSize) String() string {
	if *b < 1e9 {
		return fmt.Sprintf("%gMB", float64(*b)/1e6)
	}
	return fmt.Sprintf("%gGB", float64(*b)/1e9)
}

// sizes is a flag with a list of sizes, sorted.
type sizes []byteSize

// Set parses what a user wrote.
func (s *sizes) Set(text string) error {
	*s = nil
	for field := range strings.SplitSeq(text, ",") {
		var b byteSize
		if err := b.Set(field); err != nil {
			return err
		}
		*s = append(*s, b)
	}
	slices.Sort(*s)
	return nil
}

func (s *sizes) String() string {
	names := make([]string, len(*s))
	for i, b := range *s {
		names[i] = b.String()
	}
	return strings.Join(names, ",")
}

// list is a flag with a list of words.
type list []string

// Set parses what a user wrote.
func (l *list) Set(text string) error {
	*l = nil
	for field := range strings.SplitSeq(text, ",") {
		if field = strings.TrimSpace(field); field != "" {
			*l = append(*l, field)
		}
	}
	return nil
}

func (l *list) String() string { return strings.Join(*l, ",") }
