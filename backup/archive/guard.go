package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"ordinal/mysqlx"
)

// Defaults of GuardOptions.
const (
	DefaultGuardBytes = 20 << 30
	DefaultGuardEvery = 10 * time.Second
)

// A BinlogKeeper is a server whose binlogs are guarded. A [*mysqlx.DB] is one.
type BinlogKeeper interface {
	BinlogFiles(ctx context.Context) ([]mysqlx.BinlogFile, error)
	GTIDsBefore(ctx context.Context, name string) (mysqlx.GTIDSet, error)
	AutoPurge(ctx context.Context) (mysqlx.Purging, error)
	SetAutoPurge(ctx context.Context, on bool) error
}

// GuardOptions say what is guarded. Server and Archived are needed.
type GuardOptions struct {
	Server BinlogKeeper
	// Archived returns what is archived, and what comes before: Status.Archived of an archiver, or Index.Tip.
	Archived func(ctx context.Context) (mysqlx.GTIDSet, error)
	// Bytes is how much all binlogs may take before those that are not archived are given up. 0: DefaultGuardBytes.
	Bytes int64
	// Every is how often it looks. 0: DefaultGuardEvery.
	Every time.Duration
}

// A GuardStatus is what a guard knows.
type GuardStatus struct {
	// Holding says that the server is kept from purging.
	Holding bool `json:"holding"`
	// Waiting is how many binlogs, but for the one being written, are not archived, and WaitingBytes how large they are.
	Waiting      int   `json:"waiting_binlogs"`
	WaitingBytes int64 `json:"waiting_bytes"`
	Bytes        int64 `json:"binlog_bytes"` // of all binlogs
	// GaveUp says that Bytes is beyond the bound: the server purges as it was configured to, archived or not.
	GaveUp bool   `json:"gave_up"`
	Error  string `json:"error,omitempty"`
}

// A Guard keeps a server from purging binlogs that are not archived, by binlog_expire_logs_auto_purge. While there is none it leaves the server's own
// expiry alone; it never purges anything itself, nor does it keep anybody from PURGE BINARY LOGS.
//
// What it has set outlives the server's restart and its own end: a server that is held is held until a guard lets go.
type Guard struct {
	o GuardOptions

	mu     sync.Mutex
	status GuardStatus
	before map[string]mysqlx.GTIDSet // by file: it never changes
}

// NewGuard returns a Guard that does nothing yet.
func NewGuard(o GuardOptions) (*Guard, error) {
	if o.Server == nil || o.Archived == nil {
		return nil, errors.New("binlog guard: a server and what is archived are needed")
	}
	if o.Bytes < 0 {
		return nil, fmt.Errorf("binlog guard: a bound of %d bytes", o.Bytes)
	}
	o.Bytes, o.Every = cmp.Or(o.Bytes, DefaultGuardBytes), cmp.Or(o.Every, DefaultGuardEvery)
	return &Guard{o: o, before: map[string]mysqlx.GTIDSet{}}, nil
}

// Status returns what the guard knows. It may be called at any time.
func (g *Guard) Status() GuardStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status
}

// Run guards until ctx ends, and returns nil then. What goes wrong shows in Status, and is tried again.
func (g *Guard) Run(ctx context.Context) error {
	for {
		status, err := g.Look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		g.mu.Lock()
		if err != nil {
			g.status.Error = oneLine(err)
		} else {
			g.status = status
		}
		g.mu.Unlock()
		if rest(ctx, g.o.Every) != nil {
			return nil
		}
	}
}

// Look looks once and does what is to be done. Errors: mysqlx.ErrNoAutoPurge for a server that cannot be held, and the server's.
func (g *Guard) Look(ctx context.Context) (GuardStatus, error) {
	s, err := g.look(ctx)
	if err != nil {
		return s, fmt.Errorf("binlog guard: %w", err)
	}
	return s, nil
}

func (g *Guard) look(ctx context.Context) (s GuardStatus, err error) {
	files, err := g.o.Server.BinlogFiles(ctx)
	if err != nil {
		return s, err
	}
	archived, err := g.o.Archived(ctx)
	if err != nil {
		return s, err
	}
	for _, f := range files {
		s.Bytes += f.Size
	}
	// A file is archived if all is that comes before the next one.
	for i := len(files) - 1; i > 0; i-- {
		before, err := g.gtidsBefore(ctx, files[i].Name)
		if err != nil {
			return s, err
		}
		if archived.Contains(before) {
			break // and what comes before those as well
		}
		s.Waiting++
		s.WaitingBytes += files[i-1].Size
	}
	g.forget(files)
	s.GaveUp = s.Waiting > 0 && s.Bytes > g.o.Bytes
	hold := s.Waiting > 0 && !s.GaveUp
	now, err := g.o.Server.AutoPurge(ctx)
	if err != nil {
		return s, err
	}
	// Where an operator has turned it off there is nothing to do, neither now nor when all is archived.
	if hold && now.On || !hold && now.Held {
		if err := g.o.Server.SetAutoPurge(ctx, !hold); err != nil {
			return s, err
		}
	}
	s.Holding = hold && (now.On || now.Held)
	return s, nil
}

func (g *Guard) gtidsBefore(ctx context.Context, name string) (mysqlx.GTIDSet, error) {
	g.mu.Lock()
	set, known := g.before[name]
	g.mu.Unlock()
	if known {
		return set, nil
	}
	set, err := g.o.Server.GTIDsBefore(ctx, name)
	if err == nil {
		g.mu.Lock()
		g.before[name] = set
		g.mu.Unlock()
	}
	return set, err
}

// forget drops what is known of files that are gone: their names may come again after RESET BINARY LOGS.
func (g *Guard) forget(files []mysqlx.BinlogFile) {
	there := map[string]bool{}
	for _, f := range files {
		there[f.Name] = true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for name := range g.before {
		if !there[name] {
			delete(g.before, name)
		}
	}
}
