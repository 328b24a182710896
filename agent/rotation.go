package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"ordinal/internal/trust"
	"ordinal/mysqlx"
)

// discardAfter is how long the accounts keep their former passwords once no secret but one is held any more.
const discardAfter = time.Hour

// tryCurrentEvery is how often the current secret's password is tried while a former one is in use.
const tryCurrentEvery = 5 * time.Second

// A passwords chooses which of the secrets' passwords to log in with: the server may have those of the current secret, or not yet. Safe
// for concurrent use.
type passwords struct {
	ring *trust.Ring

	mu      sync.Mutex
	current *trust.Keys // as chosen is counted from
	chosen  int
	since   time.Time // when it was chosen
}

// inUse returns the keys that were chosen.
func (p *passwords) inUse() *trust.Keys {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.ring.All()
	if p.current != all[0] || p.chosen > 0 && time.Since(p.since) > tryCurrentEvery {
		p.current, p.chosen = all[0], 0 // the server may have it by now
	}
	return all[p.chosen%len(all)]
}

// next chooses other keys: the server does not know those.
func (p *passwords) next() {
	p.inUse()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.chosen++
	p.since = time.Now()
}

// others is how many other keys there are to try.
func (p *passwords) others() int { return len(p.ring.All()) - 1 }

func (p *passwords) agent() (string, error) { return p.inUse().AgentPassword(), nil }

// replication is the password for the source's replication account: all accounts change in one statement, so it is of the same secret
// as the agent's own, here or at the source, where both are valid for a time.
func (p *passwords) replication(cluster string) string { return p.inUse().ReplicationPassword(cluster) }

// A rotationView is what a change of the cluster secret has left to do.
type rotationView struct {
	Rotate  bool // of a source: the accounts are to have the current secret's passwords
	Discard bool // of a source: the former passwords may end
	Channel bool // of a replica: the channel is to have the current secret's password, which the accounts have by now
}

func (r *runner) observeRotation(v *view) {
	current := r.keys.Current()
	alone := len(r.keys.All()) == 1
	if v.Role == RoleSource {
		v.Rotation.Rotate = r.root != nil && v.ClusterID != "" && r.rotated != current
		v.Rotation.Discard = r.root != nil && r.rotated == current && r.discarded != current && alone &&
			r.now().Sub(r.keys.State().Current.Since) >= discardAfter
		return
	}
	if r.channelHas == nil && alone {
		r.channelHas = current // there was no other
	}
	v.Rotation.Channel = r.channelHas != current && r.passwords.inUse() == current && !v.Mysqld.AsRoot
}

// rotate gives the accounts the current secret's passwords beside those that they have.
func (r *runner) rotate(ctx context.Context, v view) error {
	current := r.keys.Current()
	err := r.root.RotatePasswords(ctx, mysqlx.AccountSpec{
		ClusterID: v.ClusterID, AgentPassword: current.AgentPassword(), ReplicationPassword: current.ReplicationPassword(v.ClusterID),
	})
	if err == nil {
		r.rotated = current
	}
	return err
}

// discard ends the former passwords.
func (r *runner) discard(ctx context.Context) error {
	err := r.root.DiscardOldPasswords(ctx)
	if err == nil {
		r.discarded = r.keys.Current()
	}
	return err
}

// channelPassword lets the receiver log in with the current secret's password from now on. With an applier that has stopped, what it has
// not executed would be lost; it is done when it runs again.
func (r *runner) channelPassword(ctx context.Context, v view) error {
	current := r.keys.Current()
	err := r.db.SetSourcePassword(ctx, current.ReplicationPassword(v.ClusterID))
	if errors.Is(err, mysqlx.ErrApplierStopped) {
		return nil
	}
	if err == nil {
		r.channelHas = current
	}
	return err
}
