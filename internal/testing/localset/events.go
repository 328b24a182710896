package localset

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Process names one of a Pod's programs.
type Process string

// A Pod's programs.
const (
	Init   Process = "init"   // agent init
	Mysqld Process = "mysqld" // mysqld with its entry point
	Agent  Process = "agent"  // agent run
)

// Kind is what happened.
type Kind string

// What happens to Pods and their programs.
const (
	Created       Kind = "created"        // a Pod
	Started       Kind = "started"        // a program
	Exited        Kind = "exited"         // a program, with Code
	Killed        Kind = "killed"         // a program is going to be, by Kill9, or because its grace was over
	Terminating   Kind = "terminating"    // a Pod
	Gone          Kind = "gone"           // a Pod; its volume is still there
	VolumeChanged Kind = "volume_changed" // of a Pod: removed, or what Change was given was done to it
	Failed        Kind = "failed"         // the emulator itself could not do something; see Detail
)

// ByKill9 is the Detail of Killed when it was Kill9 that did it.
const ByKill9 = "kill -9"

// An Event is something that happened to a Pod.
type Event struct {
	Time    time.Time
	Pod     string
	Process Process // "" if it is about the Pod
	Kind    Kind
	Code    int    // of Exited: exit code, or 128 + signal
	Detail  string // for people
}

// String returns the event as one line of a log.
func (e Event) String() string {
	s := e.Time.UTC().Format("15:04:05.000") + " " + e.Pod
	if e.Process != "" {
		s += " " + string(e.Process)
	}
	s += " " + string(e.Kind)
	if e.Kind == Exited {
		s += fmt.Sprintf(" with code %d", e.Code)
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// events keeps everything that happened.
type events struct {
	mu      sync.Mutex
	all     []Event
	observe func(Event)
}

func (l *events) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Time = time.Now()
	l.all = append(l.all, e)
	if l.observe != nil {
		l.observe(e)
	}
}

func (l *events) list() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

// Events returns all that has happened so far, oldest first.
func (s *Set) Events() []Event { return s.events.list() }

// ExitCodes returns the codes with which a Pod's program has ended so far, in all its lives, oldest first.
func (s *Set) ExitCodes(ordinal int, process Process) []int {
	var codes []int
	for _, e := range s.Events() {
		if e.Pod == s.Pod(ordinal).Name && e.Process == process && e.Kind == Exited {
			codes = append(codes, e.Code)
		}
	}
	return codes
}
