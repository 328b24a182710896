package main

import (
	"errors"
	"fmt"
	"slices"
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
	Took    float64   `json:"took_seconds"`
	Machine machine   `json:"machine"`
	Server  string    `json:"server_version"`
	Agent   string    `json:"agent_version"`
	Rounds  int       `json:"rounds"`
	Way     string    `json:"way"` // that is held against the aims
	Sites   []found   `json:"sites"`
	Binary  int64     `json:"binary_bytes"`
	Left    []string  `json:"left_out"` // what was not measured, and why
}

// found is what was found at one place.
type found struct {
	Place      string    `json:"place"`
	FileSystem string    `json:"file_system"`
	Copies     []figures `json:"copies,omitempty"`
	Starts     []float64 `json:"init_on_complete_volume_seconds,omitempty"`
	Writes     []written `json:"writes,omitempty"`
	Memory     []watched `json:"memory,omitempty"`
	Tables     *tables   `json:"tables,omitempty"`
	Backups    *backups  `json:"backups,omitempty"`
}

// figures are all runs of a contender, one per round.
type figures struct {
	Name string   `json:"name"`
	Kind kind     `json:"kind"`
	Args []string `json:"args,omitempty"`
	Runs []copied `json:"runs"`
}

// copied is one copy.
type copied struct {
	Bytes    int64   `json:"bytes"`         // of the donor's data files: what rates refer to, whoever copies
	Received int64   `json:"received"`      // as the contender counts
	Copy     float64 `json:"copy_seconds"`  // from the beginning of the data to its being durable
	Whole    float64 `json:"whole_seconds"` // of the program agent init, or of the statement
	Ready    float64 `json:"ready_seconds,omitempty"`
	CPU      cpu     `json:"cpu_seconds"`

	Resumes  int  `json:"resumes,omitempty"`  // how often it broke and went on
	Fallback bool `json:"fallback,omitempty"` // the server had to send what the sidecar should have read

	SidecarHWM   int64 `json:"sidecar_hwm_bytes,omitempty"`
	RecipientHWM int64 `json:"recipient_hwm_bytes,omitempty"`
}

// cpu is seconds of CPU.
type cpu struct {
	Donor     float64 `json:"donor_mysqld"`
	Sender    float64 `json:"sender,omitempty"` // the donor's sidecar, or the tar that reads
	Recipient float64 `json:"recipient"`        // agent init, the recipient's mysqld, or the tar that writes
}

func (c cpu) sum() float64 { return c.Donor + c.Sender + c.Recipient }

// rate is in MB/s.
func (c copied) rate() float64 { return float64(c.Bytes) / 1e6 / c.Copy }

// perGB turns seconds of CPU into those per GB.
func (c copied) perGB(seconds float64) float64 { return seconds / (float64(c.Bytes) / 1e9) }

// written is what is left to the source's writers during one kind of clone.
type written struct {
	Name string   `json:"name"`
	Kind kind     `json:"kind"`
	Args []string `json:"args,omitempty"`
	Runs []window `json:"runs"`
}

// window is the time for which transactions were counted during one clone.
type window struct {
	Alone    float64 `json:"alone_tps"` // without a clone: mean of the time before and the time after
	During   float64 `json:"during_tps"`
	Seconds  float64 `json:"seconds"`
	Complete bool    `json:"complete"` // the clone ended before the window was full
}

// kept is the share of the transactions that the source goes on with.
func (w window) kept() float64 { return w.During / w.Alone }

// lost is how many transactions the whole clone takes; meaningful if it is complete.
func (w window) lost() float64 { return (w.Alone - w.During) * w.Seconds }

// watched is a clone during which memory was watched, one per way.
type watched struct {
	Name string `json:"name"`
	Run  copied `json:"run"`
}

// tables are clones of many small tables.
type tables struct {
	Count   int       `json:"count"`
	Created float64   `json:"created_seconds"` // what it took to make them
	Copies  []figures `json:"copies"`
}

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

// ratios compares two lists round by round: what lies minutes apart is not compared.
func ratios[T any](list, base []T, figure func(T) float64) spread {
	n := min(len(list), len(base))
	each := make([]float64, n)
	for i := range n {
		each[i] = figure(list[i]) / figure(base[i])
	}
	return spreadOf(each, func(f float64) float64 { return f })
}

// named returns the runs of a contender, nil if it did not run.
func named(list []figures, name string) []copied {
	for _, f := range list {
		if f.Name == name {
			return f.Runs
		}
	}
	return nil
}

// agentRuns returns all clones by the agent.
func (r *result) agentRuns() (all []copied) {
	add := func(list []figures) {
		for _, f := range list {
			if f.Kind == byAgent {
				all = append(all, f.Runs...)
			}
		}
	}
	for _, s := range r.Sites {
		add(s.Copies)
		if s.Tables != nil {
			add(s.Tables.Copies)
		}
		for _, w := range s.Memory {
			all = append(all, w.Run)
		}
	}
	return all
}

// largestHWM returns the most memory that any clone by the agent took, 0 if there was none.
func (r *result) largestHWM() (sidecar, recipient int64) {
	for _, c := range r.agentRuns() {
		sidecar, recipient = max(sidecar, c.SidecarHWM), max(recipient, c.RecipientHWM)
	}
	return sidecar, recipient
}

// starts returns the times of all starts on a complete volume.
func (r *result) starts() (all []float64) {
	for _, s := range r.Sites {
		all = append(all, s.Starts...)
	}
	return all
}

// overLimit returns what is over its limit as an error.
func (r *result) overLimit() error {
	var over []error
	sidecar, recipient := r.largestHWM()
	for _, m := range []struct {
		who string
		hwm int64
	}{{"the donor's sidecar", sidecar}, {"the recipient", recipient}} {
		if m.hwm == 0 && len(r.agentRuns()) > 0 || m.hwm > limitHWM {
			over = append(over, fmt.Errorf("%s took %d KiB of memory, at most %d are allowed", m.who, m.hwm>>10, limitHWM>>10))
		}
	}
	if r.Binary >= limitBinary {
		over = append(over, fmt.Errorf("the agent has %d bytes, the limit is %d", r.Binary, limitBinary))
	}
	if starts := r.starts(); len(starts) > 0 && slices.Max(starts) >= limitStart {
		over = append(over, fmt.Errorf("agent init took %.2f s on a complete volume, the limit is %.0f s", slices.Max(starts), limitStart))
	}
	return errors.Join(over...)
}
