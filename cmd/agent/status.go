package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"ordinal/agent"
)

const (
	statusTimeout = 2 * time.Second // for each pod's answer
	watchInterval = 2 * time.Second
	askAtOnce     = 32 // pods asked at the same time
)

func newStatus(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show all pods of the set in one table",
		Long: `status asks every pod's status port and shows one table: role, state, GTID position, lag, clone progress, reasons.

Which pods there are is told by --replicas, else by DNS SRV of the service, else by asking ordinal after ordinal until two in
a row are absent. It exits 0 if every pod is ready, 75 if one is not, 69 if none answers; with --watch always 0.`,
		Example: `  agent status                                    # in a pod of the set
  agent status --pod-name mysql-0 --service mysql.shop.svc.cluster.local --watch
  agent status --pod-name db-0 --peer-host 127.0.1.{ordinal} --replicas 3 --json`,
		Args: noArgs,
	}
	s := addOptions(cmd, cmdStatus)
	var asJSON, watch bool
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object; with --watch one per line")
	cmd.Flags().BoolVar(&watch, "watch", false, fmt.Sprintf("show it again every %v until interrupted", watchInterval))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := s.complete(cmd.Flags(), sur.getenv)
		if err != nil {
			return err
		}
		peers, err := s.Peers()
		if err != nil {
			return from.nameOf(s, err)
		}
		v := &statusView{
			peers: peers, ask: (&agent.StatusClient{Peers: peers, Timeout: statusTimeout}).Ask, resolver: net.DefaultResolver,
			color: isTerminal(sur.stdout) && sur.getenv("NO_COLOR") == "" && sur.getenv("TERM") != "dumb",
		}
		switch {
		case watch:
			return v.watch(cmd.Context(), sur.stdout, asJSON)
		default:
			set := v.collect(cmd.Context())
			if err := v.print(sur.stdout, set, asJSON, true); err != nil {
				return err
			}
			return set.verdict()
		}
	}
	return cmd
}

// setStatus is what `agent status --json` prints. Fields are only ever added.
type setStatus struct {
	Pods       []podStatus `json:"pods"`
	Ready      bool        `json:"ready"` // every pod is
	ObservedAt time.Time   `json:"observed_at"`
	// Note says what is not certain about the list of pods; "" nothing.
	Note string `json:"note"`
}

// podStatus is one pod's answer, or that there was none.
type podStatus struct {
	Pod     string         `json:"pod"`
	Ordinal int            `json:"ordinal"`
	Role    agent.Role     `json:"role"`
	Answer  agent.PeerKind `json:"answer"`
	Message string         `json:"message"` // why there is no answer; "" if there is one
	Status  *agent.Status  `json:"status"`  // null if there is no answer
}

func (p podStatus) ready() bool { return p.Status != nil && p.Status.Ready }

// statusView asks the set's pods and prints the result.
type statusView struct {
	peers    *agent.Peers
	ask      func(context.Context, int) agent.PeerAnswer
	resolver agent.Resolver
	color    bool
}

// collect asks all pods at once.
func (v *statusView) collect(ctx context.Context) setStatus {
	lookup, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	set := setStatus{ObservedAt: time.Now().UTC().Round(time.Millisecond), Ready: true}
	var answers []agent.PeerAnswer
	if ordinals, err := v.peers.Ordinals(lookup, v.resolver); err == nil {
		answers = v.askAll(ctx, ordinals)
	} else {
		answers = v.probe(ctx)
		set.Note = "pods found by asking one after the other, ending at two that are absent; --replicas says how many there are"
		if !errors.Is(err, agent.ErrNoDiscovery) {
			set.Note = err.Error() + "; " + set.Note
		}
	}
	set.Pods = make([]podStatus, 0, len(answers))
	for _, a := range answers {
		p := podStatus{Pod: a.Pod, Ordinal: a.Ordinal, Role: v.peers.Identity().RoleOf(a.Ordinal), Answer: a.Kind, Message: a.Why}
		if a.Kind == agent.PeerAnswered {
			p.Status = &a.Status
		}
		set.Pods = append(set.Pods, p)
		set.Ready = set.Ready && p.ready()
	}
	set.Ready = set.Ready && len(set.Pods) > 0
	return set
}

// askAll asks the pods in parallel and returns the answers in the order of ordinals.
func (v *statusView) askAll(ctx context.Context, ordinals []int) []agent.PeerAnswer {
	answers := make([]agent.PeerAnswer, len(ordinals))
	slots := make(chan struct{}, askAtOnce)
	var wg sync.WaitGroup
	for i, ordinal := range ordinals {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			answers[i] = v.ask(ctx, ordinal)
		})
	}
	wg.Wait()
	return answers
}

// probe asks ordinals from the first one on, some at a time, until two in a row are absent: no such name, or nobody who
// listens, as on a machine where every address exists. Absent ones at the end are not part of the set.
func (v *statusView) probe(ctx context.Context) []agent.PeerAnswer {
	const batch = 4
	var answers []agent.PeerAnswer
	first := v.peers.Identity().First
	for next := first; next < first+agent.MaxReplicas; next += batch {
		for _, a := range v.askAll(ctx, []int{next, next + 1, next + 2, next + 3}) {
			answers = append(answers, a)
			if n := len(answers); n >= 2 && absent(answers[n-1]) && absent(answers[n-2]) {
				return answers[:n-2]
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	return answers
}

func absent(a agent.PeerAnswer) bool {
	return a.Kind == agent.PeerAbsent || a.Kind != agent.PeerAnswered && agent.Reach(a.Err) == agent.Refused
}

// verdict returns nil if every pod is ready.
func (s setStatus) verdict() error {
	answered := slices.ContainsFunc(s.Pods, func(p podStatus) bool { return p.Status != nil })
	if !answered {
		return &statusError{text: "no pod answers", hint: "are --pod-name, --service or --peer-host, and --status-port those of the set?", code: agent.ExitUnavailable}
	}
	if s.Ready {
		return nil
	}
	not := 0
	for _, p := range s.Pods {
		if !p.ready() {
			not++
		}
	}
	return &statusError{text: fmt.Sprintf("%d of %d pods not ready", not, len(s.Pods)), code: agent.ExitTemporary}
}

type statusError struct {
	text, hint string
	code       int
}

func (e *statusError) Error() string { return e.text }
func (e *statusError) Hint() string  { return e.hint }
func (e *statusError) ExitCode() int { return e.code }

// watch prints the set again and again until ctx ends.
func (v *statusView) watch(ctx context.Context, w io.Writer, asJSON bool) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		set := v.collect(ctx)
		if ctx.Err() != nil {
			return nil // the answers were cut short
		}
		var out bytes.Buffer
		if !asJSON {
			if isTerminal(w) {
				out.WriteString("\x1b[H\x1b[2J") // home, clear
			}
			fmt.Fprintln(&out, set.ObservedAt.Local().Format("2006-01-02 15:04:05"))
		}
		if err := v.print(&out, set, asJSON, false); err != nil {
			return err
		}
		if _, err := w.Write(out.Bytes()); err != nil {
			return fmt.Errorf("print status: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// print writes set as a table, or as JSON, which pretty lays out for reading.
func (v *statusView) print(w io.Writer, set setStatus, asJSON, pretty bool) error {
	if !asJSON {
		return printTable(w, set, v.color)
	}
	enc := json.NewEncoder(w)
	if pretty {
		enc.SetIndent("", "  ")
	}
	return enc.Encode(set)
}

// sortedCodes returns the codes of reasons, each once.
func sortedCodes(reasons []agent.Reason) []string {
	var codes []string
	for _, r := range reasons {
		codes = append(codes, clean(string(r.Code), 40))
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}
