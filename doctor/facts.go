package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"ordinal/agent"
	"ordinal/backup/store"
	"ordinal/internal/trust"
)

// Surroundings are what a pod was told, and where to look. Config, Resolver and Open are needed.
type Surroundings struct {
	Config   agent.Config
	Resolver *net.Resolver
	// Open returns the store at a URL, and gives up soon on one that does not answer.
	Open func(url string) (store.Store, error)
	// Built is when the program was made; zero: not known.
	Built time.Time
	// Ring makes keys of the cluster secret's file; nil: [trust.LoadRing].
	Ring func(path string) (*trust.Ring, error)
	// Hosts is the machine's file of host names, Meminfo the kernel's word on its memory. "" is /etc/hosts and /proc/meminfo.
	Hosts, Meminfo string
}

// facts are all that was seen.
type facts struct {
	cfg     agent.Config
	id      agent.Identity
	peers   *agent.Peers // nil: nameErr says why
	nameErr error
	built   time.Time

	machine seen[machine]
	names   seen[names]
	secret  seen[secret]
	ring    seen[*trust.Ring]
	volume  seen[volumeFacts]
	self    seen[endpoint] // this pod, by its own name
	own     seen[ownPlane] // what listens on this machine
	others  seen[[]endpoint]
	server  seen[server]
	store   seen[place]
	restore seen[place]
	keys    seen[struct{}]
}

// seen is what a look has brought to light, or why it has not.
type seen[T any] struct {
	it  T
	err error
}

// known reports whether there is something to judge.
func (s seen[T]) known() bool { return s.err == nil }

// unseen is the conclusion where it is not known.
func (s seen[T]) unseen() finding { return unseen(s.err.Error()) }

var errNotAsked = errors.New("nothing to look at")

// begin starts a look and returns what waits for its end, but not longer than the look may take: one that hangs in the kernel is left alone.
func begin[T any](ctx context.Context, what string, within time.Duration, f func(context.Context) (T, error)) func() seen[T] {
	ctx, cancel := context.WithTimeout(ctx, within)
	var s seen[T]
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.it, s.err = f(ctx)
	}()
	return func() seen[T] {
		select {
		case <-done:
			defer cancel()
			return s
		case <-ctx.Done():
		}
		select { // it may have used all of its time and still have an answer
		case <-done:
			return s
		case <-time.After(lastWord):
			return seen[T]{err: fmt.Errorf("%s: no answer within %v", what, within)}
		}
	}
}

// lastWord is how long a look may take to say what it has when its time is over.
const lastWord = 500 * time.Millisecond

// Deadlines of the looks.
const (
	lookFast   = 3 * time.Second
	lookNames  = 4 * time.Second
	lookPeers  = 7 * time.Second
	lookServer = 7 * time.Second
	lookStore  = 7 * time.Second
)

// look begins every look at once and waits for all.
func look(ctx context.Context, s Surroundings) *facts {
	cfg := s.Config
	f := &facts{cfg: cfg, built: s.Built}
	f.peers, f.nameErr = cfg.Peers()
	if f.nameErr == nil {
		f.id = f.peers.Identity()
	}
	machineLook := begin(ctx, "look at the machine", lookFast, func(context.Context) (machine, error) { return lookAtMachine(s) })
	secretLook := begin(ctx, "read the secret", lookFast, func(context.Context) (secret, error) { return lookAtSecret(cfg) })
	ringLook := begin(ctx, "derive keys from the secret", lookNames, func(context.Context) (*trust.Ring, error) { return deriveRing(s, secretLook()) })
	volumeLook := begin(ctx, "look at the volume", lookServer, func(ctx context.Context) (volumeFacts, error) { return lookAtVolume(ctx, cfg) })
	namesLook := begin(ctx, "ask the name server", lookNames, func(ctx context.Context) (names, error) { return lookAtNames(ctx, f.peers, cfg, s.Resolver) })
	ownLook := begin(ctx, "ask this pod's agent", lookFast, func(ctx context.Context) (ownPlane, error) { return lookAtOwnPlane(ctx, f.peers, cfg) })
	serverLook := begin(ctx, "ask mysqld", lookServer, func(ctx context.Context) (server, error) {
		return lookAtServer(ctx, cfg, secretLook().it, ringLook().it)
	})
	asker := asker{f.peers, s.Resolver, ringLook}
	selfLook := begin(ctx, "ask this pod by its name", lookPeers, func(ctx context.Context) (endpoint, error) { return asker.self(ctx) })
	othersLook := begin(ctx, "ask the other pods", lookPeers, func(ctx context.Context) ([]endpoint, error) { return asker.others(ctx, namesLook()) })
	storeLook := begin(ctx, "look at the store", lookStore, func(ctx context.Context) (place, error) { return lookAtStore(ctx, s, cfg.Backups.Store) })
	restoreLook := begin(ctx, "look at the store to restore from", lookStore, func(ctx context.Context) (place, error) { return lookAtRestore(ctx, s) })
	keysLook := begin(ctx, "read the backups' keys", lookFast, func(context.Context) (struct{}, error) { return struct{}{}, lookAtKeys(cfg) })

	f.machine, f.secret, f.ring, f.volume, f.names, f.own = machineLook(), secretLook(), ringLook(), volumeLook(), namesLook(), ownLook()
	f.server, f.self, f.others = serverLook(), selfLook(), othersLook()
	f.store, f.restore, f.keys = storeLook(), restoreLook(), keysLook()
	return f
}

// says is what the pod's agent says of itself, in one line.
func (f *facts) says() string {
	if !f.own.known() || !f.own.it.agent {
		return ""
	}
	s := f.own.it.status
	text := string(s.State)
	if s.Ready {
		return text + ", ready"
	}
	text += ", not ready"
	for i, r := range s.Reasons {
		if i == 3 {
			text += "; …"
			break
		}
		text += "; " + r.String()
	}
	return text
}
