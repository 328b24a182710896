package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"strings"

	"ordinal/internal/testing/localset"
)

// copies are the clones that were completed, by what the agents' logs say: they outlive the volumes.
type copies struct {
	Init    int `json:"init"`    // of a replica, before its mysqld was started
	Reverse int `json:"reverse"` // of the source, from a sibling
	Beside  int `json:"beside"`  // beside data that went on being served
}

// logLine is what is used of a line of the agent's log.
type logLine struct {
	Level  string `json:"level"`
	Msg    string `json:"msg"`
	Reason string `json:"reason"`
	Why    string `json:"why"`
}

// readLog calls see with each line of one program's log.
func (s *soak) readLog(ordinal int, process localset.Process, see func(logLine, []byte)) {
	f, err := os.Open(s.set.Pod(ordinal).LogFile(process))
	if err != nil {
		return // it has not said anything yet
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var line logLine
		if bytes.HasPrefix(lines.Bytes(), []byte("{")) && json.Unmarshal(lines.Bytes(), &line) != nil {
			line = logLine{} // it was killed while it wrote
		}
		see(line, lines.Bytes())
	}
}

func (s *soak) countCopies() (c copies) {
	for ordinal := range s.options.pods {
		s.readLog(ordinal, localset.Init, func(l logLine, _ []byte) {
			switch {
			case l.Msg != "cloned":
			case ordinal == 0:
				c.Reverse++
			default:
				c.Init++
			}
		})
		s.readLog(ordinal, localset.Agent, func(l logLine, _ []byte) {
			if l.Msg == "cloned" {
				c.Beside++
			}
		})
	}
	return c
}

// judgeLogs looks for rebuilds that no fault explains, and for secrets.
func (s *soak) judgeLogs() {
	var secrets []string
	for _, file := range []string{s.set.RootPasswordFile(), s.set.SecretFile()} {
		if content, err := os.ReadFile(file); err == nil {
			secrets = append(secrets, strings.TrimSpace(string(content)))
		}
	}
	for ordinal := range s.options.pods {
		allowed := s.explained(ordinal)
		for _, process := range []localset.Process{localset.Init, localset.Agent, localset.Mysqld} {
			leaked := false
			s.readLog(ordinal, process, func(l logLine, raw []byte) {
				for _, secret := range secrets {
					leaked = leaked || bytes.Contains(raw, []byte(secret))
				}
				if l.Msg == "building a new copy beside the data" && !allowed[l.Reason] {
					s.fail("mysql-%d was rebuilt because of %s, which nothing explains that was done to it: %s", ordinal, l.Reason, l.Why)
				}
			})
			if leaked {
				s.fail("a secret is in mysql-%d's log of %s", ordinal, process)
			}
		}
	}
}

// explained returns the reasons for which a Pod's data may have been replaced, by what was done.
func (s *soak) explained(ordinal int) map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	reasons := map[string]bool{}
	for _, h := range s.done {
		if h.Kind == errantWrite && h.Pod != ordinal {
			continue
		}
		for _, reason := range explains[h.Kind] {
			reasons[reason] = true
		}
	}
	return reasons
}
