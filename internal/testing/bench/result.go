package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Limits that the agent is promised to stay below.
const (
	limitHWM    = 64 << 20   // bytes of memory, of the donor's sidecar and of the recipient each
	limitBinary = 20_000_000 // bytes
	limitStart  = 1.0        // seconds of agent init on a complete volume
)

// result is what a run found.
type result struct {
	Started time.Time `json:"started"`
	Machine machine   `json:"machine"`
	Server  string    `json:"server_version"`
	Rounds  int       `json:"rounds"`
	Ways    []way     `json:"ways"`
	Memory  *cloned   `json:"memory"` // the clone during which memory was watched; null if left out
	Starts  []float64 `json:"init_on_complete_volume_seconds"`
	Binary  int64     `json:"binary_bytes"`
}

// way is one way to clone by the agent.
type way struct {
	Workers int    `json:"workers"`
	Pairs   []pair `json:"pairs"`
}

// pair is a clone by the agent and the server's right after it.
type pair struct {
	Agent  cloned `json:"agent"`
	Server cloned `json:"server"`
}

// cloned is one clone.
type cloned struct {
	Bytes int64   `json:"bytes"`         // received
	Copy  float64 `json:"copy_seconds"`  // from the beginning of the data to its being durable
	Whole float64 `json:"whole_seconds"` // of the program agent init, or of the statement
	Ready float64 `json:"ready_seconds,omitempty"`

	// Seconds of CPU. With the agent, the recipient is agent init; else it is the recipient's mysqld.
	Donor     float64 `json:"cpu_donor_mysqld_seconds"`
	Sidecar   float64 `json:"cpu_donor_sidecar_seconds,omitempty"`
	Recipient float64 `json:"cpu_recipient_seconds"`

	SidecarHWM   int64 `json:"sidecar_hwm_bytes,omitempty"`
	RecipientHWM int64 `json:"recipient_hwm_bytes,omitempty"`
}

// rate is in MB/s of the copy; wholeRate is that of everything around it, too.
func (c cloned) rate() float64      { return float64(c.Bytes) / 1e6 / c.Copy }
func (c cloned) wholeRate() float64 { return float64(c.Bytes) / 1e6 / c.Whole }

// perGB turns seconds of CPU into those per GB.
func (c cloned) perGB(seconds float64) float64 { return seconds / (float64(c.Bytes) / 1e9) }

// spread is the least, the middle and the greatest of some figures.
type spread struct{ min, median, max float64 }

func spreadOf[T any](list []T, figure func(T) float64) spread {
	if len(list) == 0 {
		return spread{}
	}
	figures := make([]float64, len(list))
	for i, e := range list {
		figures[i] = figure(e)
	}
	slices.Sort(figures)
	n := len(figures)
	return spread{figures[0], (figures[(n-1)/2] + figures[n/2]) / 2, figures[n-1]}
}

func median[T any](list []T, figure func(T) float64) float64 { return spreadOf(list, figure).median }

// largestHWM returns the most memory that any clone took.
func (r *result) largestHWM() (sidecar, recipient int64) {
	see := func(c cloned) {
		sidecar, recipient = max(sidecar, c.SidecarHWM), max(recipient, c.RecipientHWM)
	}
	for _, w := range r.Ways {
		for _, p := range w.Pairs {
			see(p.Agent)
		}
	}
	if r.Memory != nil {
		see(*r.Memory)
	}
	return sidecar, recipient
}

// overLimit returns what is over its limit as an error.
func (r *result) overLimit() error {
	var over []error
	sidecar, recipient := r.largestHWM()
	for _, m := range []struct {
		who string
		hwm int64
	}{{"the donor's sidecar", sidecar}, {"the recipient", recipient}} {
		if m.hwm == 0 || m.hwm > limitHWM {
			over = append(over, fmt.Errorf("%s took %d KiB of memory, at most %d are allowed", m.who, m.hwm>>10, limitHWM>>10))
		}
	}
	if r.Binary >= limitBinary {
		over = append(over, fmt.Errorf("the agent has %d bytes, the limit is %d", r.Binary, limitBinary))
	}
	if most := slices.Max(r.Starts); most >= limitStart {
		over = append(over, fmt.Errorf("agent init took %.2f s on a complete volume, the limit is %.0f s", most, limitStart))
	}
	return errors.Join(over...)
}

// table is the result for people.
func (r *result) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "machine  %v\nserver   MySQL %s\n", r.Machine, r.Server)
	var all []cloned // by the server
	for _, w := range r.Ways {
		for _, p := range w.Pairs {
			all = append(all, p.Server)
		}
	}
	fmt.Fprintf(&b, "data     %.2f GB per clone, %d rounds in turns: agent, server, agent, server …\n\n", float64(all[0].Bytes)/1e9, r.Rounds)

	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "copy, MB/s\tmin\tmedian\tmax\tratio to the server's\tmin … max\twhole: ratio\t")
	for _, w := range r.Ways {
		rate := spreadOf(w.Pairs, func(p pair) float64 { return p.Agent.rate() })
		ratio := spreadOf(w.Pairs, func(p pair) float64 { return p.Agent.rate() / p.Server.rate() })
		whole := median(w.Pairs, func(p pair) float64 { return p.Agent.wholeRate() / p.Server.wholeRate() })
		fmt.Fprintf(t, "agent, %s\t%.0f\t%.0f\t%.0f\t%.2f\t%.2f … %.2f\t%.2f\t\n", w.name(), rate.min, rate.median, rate.max, ratio.median,
			ratio.min, ratio.max, whole)
	}
	rate := spreadOf(all, cloned.rate)
	fmt.Fprintf(t, "CLONE INSTANCE\t%.0f\t%.0f\t%.0f\t\t\t\t\n", rate.min, rate.median, rate.max)
	t.Flush()

	fmt.Fprintln(&b)
	fmt.Fprintln(t, "CPU seconds per GB, median\tdonor mysqld\tdonor sidecar\trecipient\tsum\t")
	for _, w := range r.Ways {
		runs := make([]cloned, len(w.Pairs))
		for i, p := range w.Pairs {
			runs[i] = p.Agent
		}
		cpuLine(t, "agent, "+w.name(), runs)
	}
	cpuLine(t, "CLONE INSTANCE", all)
	t.Flush()

	sidecar, recipient := r.largestHWM()
	fmt.Fprintln(&b)
	fmt.Fprintln(t, "limits\tfound\tallowed\t\t")
	data := int64(0)
	if r.Memory != nil {
		data = r.Memory.Bytes
	}
	fmt.Fprintf(t, "memory of the donor's sidecar, MiB\t%.1f\t64\twhile cloning up to %.1f GB\t\n", float64(sidecar)/(1<<20), float64(data)/1e9)
	fmt.Fprintf(t, "memory of the recipient, MiB\t%.1f\t64\tthe same\t\n", float64(recipient)/(1<<20))
	fmt.Fprintf(t, "size of the agent, MB\t%.1f\t20\t\t\n", float64(r.Binary)/1e6)
	starts := spreadOf(r.Starts, func(s float64) float64 { return s })
	fmt.Fprintf(t, "agent init on a complete volume, s\t%.2f\t1\tlargest of %d; median %.2f\t\n", starts.max, len(r.Starts), starts.median)
	t.Flush()
	fmt.Fprintln(&b)
	for _, w := range r.Ways {
		fmt.Fprintf(&b, "agent, %s: from an empty volume to a Pod that is ready %.1f s, of which %.1f s are agent init (medians)\n", w.name(),
			median(w.Pairs, func(p pair) float64 { return p.Agent.Ready }), median(w.Pairs, func(p pair) float64 { return p.Agent.Whole }))
	}
	fmt.Fprintf(&b, "CLONE INSTANCE: the statement takes %.1f s (median); a restart of its server is not in it\n", median(all, func(c cloned) float64 { return c.Whole }))
	return b.String()
}

func (w way) name() string {
	switch w.Workers {
	case 0:
		return "no worker"
	case 1:
		return "1 worker"
	}
	return fmt.Sprintf("%d workers", w.Workers)
}

func cpuLine(t *tabwriter.Writer, name string, runs []cloned) {
	figure := func(seconds func(cloned) float64) float64 {
		return median(runs, func(c cloned) float64 { return c.perGB(seconds(c)) })
	}
	fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t\n", name,
		figure(func(c cloned) float64 { return c.Donor }), figure(func(c cloned) float64 { return c.Sidecar }),
		figure(func(c cloned) float64 { return c.Recipient }), figure(func(c cloned) float64 { return c.Donor + c.Sidecar + c.Recipient }))
}
