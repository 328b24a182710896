package localset

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A Pod is where a Pod of the set lives. It stays the same through all its lives.
type Pod struct {
	Ordinal int
	Name    string // mysql-2
	Host    string // 127.0.1.2
	Dir     string // everything below
	Volume  string // survives the Pod
	// ConfigDir is the directory that mysqld includes: the agent writes there. Like the socket's directory it is empty in each new life.
	ConfigDir string
	Socket    string
	LogDir    string // one file per program, all lives appended
}

// Pod returns where the Pod with the given ordinal lives, whether or not it exists at the moment.
func (s *Set) Pod(ordinal int) Pod {
	name := s.options.Name + "-" + strconv.Itoa(ordinal)
	dir := filepath.Join(s.options.Dir, name)
	return Pod{
		Ordinal:   ordinal,
		Name:      name,
		Host:      s.options.host(ordinal),
		Dir:       dir,
		Volume:    filepath.Join(dir, "volume"),
		ConfigDir: filepath.Join(dir, "conf.d"),
		Socket:    filepath.Join(dir, "run", "mysqld.sock"),
		LogDir:    filepath.Join(dir, "log"),
	}
}

// LogFile is the path of the log of one of the Pod's programs.
func (p Pod) LogFile(process Process) string {
	return filepath.Join(p.LogDir, string(process)+".log")
}

// optionFile is what /etc/my.cnf is in the official image.
func (p Pod) optionFile() string { return filepath.Join(p.Dir, "my.cnf") }

// A life is one life of a Pod, from its creation to its end.
type life struct {
	Pod
	set *Set
	// change is done to the volume when it is over; nil: nothing. Guarded by the set's lock.
	change func(volume string) error
	stop   func()        // begins the end; may be called more than once
	over   chan struct{} // closed when none of its programs runs
	gone   chan struct{} // closed by the controller, once it has taken the Pod out of the set

	stopping   <-chan struct{}
	mu         sync.Mutex
	containers map[Process]*container
}

func (s *Set) newLife(ordinal int) *life {
	stopping := make(chan struct{})
	return &life{
		Pod:        s.Pod(ordinal),
		set:        s,
		stop:       sync.OnceFunc(func() { close(stopping) }),
		stopping:   stopping,
		over:       make(chan struct{}),
		gone:       make(chan struct{}),
		containers: map[Process]*container{},
	}
}

func (l *life) event(e Event) {
	e.Pod = l.Name
	l.set.events.add(e)
}

// enter returns what moves a thread to where the Pod lives; nil if that is where everybody is.
func (l *life) enter() func() error {
	network := l.set.options.Network
	if network == nil {
		return nil
	}
	return func() error { return network.Enter(l.Ordinal) }
}

// env returns what the options add to a program's environment.
func (l *life) env(process Process) []string {
	if l.set.options.Env == nil {
		return nil
	}
	return l.set.options.Env(l.Ordinal, process)
}

func (l *life) container(process Process) *container {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.containers[process]
}

// run returns when the Pod was stopped and nothing of it runs. The end of ctx kills it.
func (l *life) run(ctx context.Context) {
	defer close(l.over)
	grace, hurry := l.set.options.Grace, ctx.Done()
	l.event(Event{Kind: Created})
	if err := l.prepare(); err != nil {
		l.event(Event{Kind: Failed, Detail: err.Error()})
		l.wait(ctx, nil)
		return
	}
	init := l.startContainer(Init, true, l.agentAttempt("init"))
	l.wait(ctx, init.stopped)
	l.endIfAsked(ctx)
	init.end(grace, hurry)
	if !init.ok || ctx.Err() != nil {
		return
	}
	// The native sidecar is the first to start and the last to end.
	agent := l.startContainer(Agent, false, l.agentAttempt("run"))
	mysqld := l.startContainer(Mysqld, false, l.mysqldAttempt)
	l.wait(ctx, nil)
	l.endIfAsked(ctx)
	mysqld.end(grace, hurry)
	agent.end(grace, hurry)
}

func (l *life) wait(ctx context.Context, until <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-l.stopping:
	case <-until:
	}
}

func (l *life) endIfAsked(ctx context.Context) {
	select {
	case <-l.stopping:
		l.event(Event{Kind: Terminating})
	case <-ctx.Done():
	default:
	}
}

// prepare makes the directories: the volume is kept, configuration and socket are as fresh as an emptyDir.
func (l *life) prepare() error {
	for _, dir := range []string{l.ConfigDir, filepath.Dir(l.Socket)} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	for _, dir := range []string{l.Volume, l.ConfigDir, filepath.Dir(l.Socket), l.LogDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(l.optionFile(), []byte(l.options()), 0o644)
}

// options returns the image's option file: what is fixed here, then what the agent writes, which wins.
func (l *life) options() string {
	return strings.Join([]string{
		"[mysqld]",
		"socket = " + l.Socket,
		"pid_file = " + filepath.Join(filepath.Dir(l.Socket), "mysqld.pid"),
		"bind_address = " + l.Host,
		"port = " + strconv.Itoa(MySQLPort),
		// Many servers share this machine.
		"innodb_buffer_pool_size = 128M",
		"innodb_log_buffer_size = 8M",
		"loose_innodb_redo_log_capacity = 64M",
		"table_open_cache = 400",
		l.set.options.Config,
		"!includedir " + l.ConfigDir + "/",
		"",
	}, "\n")
}

// agentAttempt runs the agent's subcommand.
func (l *life) agentAttempt(subcommand string) func(context.Context, *container) (int, error) {
	return func(ctx context.Context, c *container) (int, error) {
		return c.call(ctx, l.agentCommand(c.process, subcommand))
	}
}

func (l *life) agentCommand(process Process, subcommand string) *exec.Cmd {
	o := &l.set.options
	argv := []string{o.AgentBinary}
	if o.AgentCommand != nil {
		if other := o.AgentCommand(l.Ordinal, process); len(other) > 0 {
			argv = other
		}
	}
	argv = append(slices.Clone(argv), subcommand,
		"--pod-name="+l.Name,
		"--peer-host="+o.Hosts,
		fmt.Sprintf("--replicas=%d", l.set.replicasToTell()),
		"--volume="+l.Volume,
		"--mysql-config-dir="+l.ConfigDir,
		"--mysql-address="+l.Socket,
		fmt.Sprintf("--mysql-port=%d", MySQLPort),
		fmt.Sprintf("--data-listen=%s:%d", l.Host, DataPort),
		fmt.Sprintf("--data-port=%d", DataPort),
		fmt.Sprintf("--status-listen=%s:%d", l.Host, StatusPort),
		fmt.Sprintf("--status-port=%d", StatusPort),
		"--secret-file="+o.secretFile(),
		"--root-password-file="+o.rootPasswordFile(),
	)
	if o.AgentArgs != nil {
		argv = append(argv, o.AgentArgs(l.Ordinal)...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		// What the machine's environment says is not what this Pod's would.
		return strings.HasPrefix(v, "AGENT_") || strings.HasPrefix(v, "MYSQL_") || strings.HasPrefix(v, "POD_NAME=")
	})
	cmd.Env = append(cmd.Env, l.env(process)...)
	return cmd
}
