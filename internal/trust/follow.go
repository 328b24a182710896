package trust

import (
	"context"
	"slices"
	"time"
)

// PreviousSuffix is what the name of the file with the previous secret ends in, after the name of the secret's file.
const PreviousSuffix = ".previous"

const (
	lookEvery = 2 * time.Second
	// grace is how long a secret that was replaced is accepted by a process that saw it happen. Meanwhile the others notice it, too: a kubelet takes a
	// minute or two to bring a changed Secret to its pods.
	grace = time.Hour
	// maxHeld bounds how many secrets are held at once, and so the size of a handshake.
	maxHeld = 4
)

type secretFiles struct{ current, previous Secret }

func (f secretFiles) same(other secretFiles) bool {
	return f.current.same(other.current) && f.previous.same(other.previous)
}

// heldKeys are the keys of a secret that a ring holds.
type heldKeys struct {
	secret Secret
	keys   *Keys
	since  time.Time
	until  time.Time // until when it is accepted because it was current; zero: it has not been replaced
}

// Run follows the files until ctx ends, and then returns nil. It looks every 2 s: a mounted Secret changes by a symbolic link above the files.
func (r *Ring) Run(ctx context.Context) error {
	look := time.NewTicker(r.every)
	defer look.Stop()
	told := r.State()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		_ = r.Reload() // the state says it
		if s := r.State(); r.Changed != nil && !s.same(told) {
			told = s
			r.Changed(s)
		}
	}
}

// Reload looks at the files once. A change is taken when it is found the same the next time: a file may be in the middle of being written, or one of
// the two be that of before. If a file cannot be used, nothing changes except that time passes, and the [*SecretError] says why.
func (r *Ring) Reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.taken
	files, err := r.read()
	if err == nil && files.same(r.seen) {
		next = files
	}
	r.seen = files // none, if they could not be read
	if failed := r.take(next); failed != nil {
		err = failed
	}
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	r.show(problem)
	return err
}

func (r *Ring) read() (secretFiles, error) {
	current, err := LoadSecret(r.path)
	if err != nil {
		return secretFiles{}, err
	}
	previous, err := loadPrevious(r.path)
	if err != nil {
		return secretFiles{}, err
	}
	return secretFiles{current, previous}, nil
}

// take makes held what the files and the time want it to be.
func (r *Ring) take(files secretFiles) error {
	now := r.now()
	current, err := r.find(files.current, now)
	if err != nil {
		return err
	}
	held := []*heldKeys{current}
	if files.previous.reveal != nil && !files.previous.same(files.current) {
		previous, err := r.find(files.previous, now)
		if err != nil {
			return err
		}
		held = append(held, previous)
	}
	if len(r.held) > 0 && r.held[0] != current {
		r.held[0].until = now.Add(grace)
	}
	for _, h := range r.held {
		if now.Before(h.until) && len(held) < maxHeld && !slices.Contains(held, h) {
			held = append(held, h)
		}
	}
	r.held, r.taken = held, files
	return nil
}

// find returns the keys of secret. They are derived if they are not held.
func (r *Ring) find(secret Secret, now time.Time) (*heldKeys, error) {
	for _, h := range r.held {
		if h.secret.same(secret) {
			return h, nil
		}
	}
	keys, err := r.derive(secret)
	if err != nil {
		return nil, err
	}
	return &heldKeys{secret: secret, keys: keys, since: now}, nil
}

// show publishes what is held: the next handshake uses it.
func (r *Ring) show(problem string) {
	state := RingState{Problem: problem}
	oldest := r.held[0]
	var keys []*Keys
	for i, h := range r.held {
		keys = append(keys, h.keys)
		if !h.since.After(oldest.since) { // of those that were there at the start, the current one is the youngest
			oldest = h
		}
		shown := RingKey{Fingerprint: h.keys.fingerprint, Since: h.since.UTC().Truncate(time.Second)}
		switch {
		case i == 0:
			state.Current = shown
			continue
		case !h.secret.same(r.taken.previous):
			shown.Until = h.until.UTC().Truncate(time.Second)
		}
		state.Accepted = append(state.Accepted, shown)
	}
	r.view.Store(&ringView{newCircle(keys, oldest.keys), state})
}
