package clone

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"ordinal/clone/protocol"
	"ordinal/stream"
)

// savedSession is what the store holds.
type savedSession struct {
	Format    int               `json:"format"`
	ID        string            `json:"id"`
	Recipient string            `json:"recipient"`
	Wants     openRequest       `json:"wants"`
	Hello     stream.Hello      `json:"hello"`
	Snapshot  protocol.Snapshot `json:"snapshot"`
}

const savedFormat = 1

// save makes a session outlive this process.
func (d *Donor) save(s *session) error {
	if d.cfg.Sessions == nil {
		return nil
	}
	s.mu.Lock()
	snapshot := s.snapshot
	s.mu.Unlock()
	b, err := json.Marshal(savedSession{savedFormat, s.id, s.recipient, s.wants, s.hello, snapshot})
	if err == nil {
		err = d.cfg.Sessions.Save(b)
	}
	if err != nil {
		return fmt.Errorf("save the clone session: %w", err)
	}
	return nil
}

// remember takes over what the server has to be told of the stage it has just begun. It is durable before the recipient hears of the
// stage, and so before anybody can ask to go on within it.
func (d *Donor) remember(s *session, snapshot protocol.Snapshot) error {
	s.mu.Lock()
	s.snapshot = snapshot
	s.mu.Unlock()
	return d.save(s)
}

func (d *Donor) forget() {
	if d.cfg.Sessions != nil {
		_ = d.cfg.Sessions.Remove() // one that stays is found to be over when somebody asks for it
	}
}

// Recover takes up the session that an earlier process of this pod left behind, if there is one. Its recipient has as long to come back
// as after a broken attempt. An error is not worth stopping for: the recipient then starts over.
func (d *Donor) Recover() error {
	if d.cfg.Sessions == nil {
		return nil
	}
	b, err := d.cfg.Sessions.Load()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var saved savedSession
	if err == nil {
		err = json.Unmarshal(b, &saved)
	}
	if err == nil && (saved.Format != savedFormat || saved.ID == "" || saved.Recipient == "") {
		err = fmt.Errorf("format %d is not known", saved.Format)
	}
	if err != nil {
		d.forget()
		return fmt.Errorf("recover the clone session: %w", err)
	}
	s := newSession(saved.Recipient)
	s.id, s.wants, s.hello, s.snapshot = saved.ID, saved.Wants, saved.Hello, saved.Snapshot
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == nil {
		d.current = s
		s.rest(d.lease(), func() { d.expire(s, errLeaseOver) })
	}
	return nil
}
