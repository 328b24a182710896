package containers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A Pod is one life of a Pod, from its creation to its end. Its methods may be called concurrently.
type Pod struct {
	Name string

	cluster *Cluster
	dir     string // kept over lives: logs; what is new in each life is made anew
	labels  map[string]string
	spec    corev1.PodSpec
	claims  map[string]*Volume // from volumeClaimTemplates
	volumes map[string]string  // where they are on the node, by name

	life     context.Context // ends with the node's power
	powerOff context.CancelFunc
	stopping <-chan struct{}
	remove   func() // begins the Pod's end
	gone     chan struct{}

	mu          sync.Mutex
	address     string
	pid         int // of what holds the network
	containers  []*container
	terminating bool
	events      []Event
}

// An Event is something that happened to a Pod.
type Event struct {
	Time      time.Time
	Pod       string
	Container string // "" for the Pod itself
	What      string
}

func (e Event) String() string {
	return fmt.Sprintf("%s %s/%s %s", e.Time.Format("15:04:05.000"), e.Pod, e.Container, e.What)
}

func (p *Pod) note(container, what string) {
	e := Event{time.Now(), p.Name, container, what}
	p.mu.Lock()
	p.events = append(p.events, e)
	p.mu.Unlock()
	p.cluster.note(e)
}

// sandboxName is the engine's name of what holds the Pod's network.
func (p *Pod) sandboxName() string { return p.cluster.prefix + "-" + p.Name }

// Address is the Pod's IP address; "" before it has one.
func (p *Pod) Address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

func (p *Pod) sandboxPID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// over says that nothing is to be started any more.
func (p *Pod) over(last <-chan struct{}) bool {
	select {
	case <-last:
		return true
	case <-p.life.Done():
		return true
	default:
		return false
	}
}

// run is the Pod's life. It returns when nothing of the Pod runs.
func (p *Pod) run(address string) {
	defer close(p.gone)
	if err := p.begin(address); err != nil {
		p.note("", "cannot begin: "+err.Error())
		<-p.stopping
	} else {
		p.serve()
	}
	if p.life.Err() == nil { // a node that is lost takes nobody's name away
		p.cluster.network.dns.set(p.spec.Subdomain, p.Name, "")
	}
	if _, err := docker("rm", "--force", p.sandboxName()); err != nil {
		p.note("", err.Error())
	}
	p.note("", "gone")
}

// begin gives the Pod its volumes, its network, its address and its name.
func (p *Pod) begin(address string) (err error) {
	if err := knownPod(withoutNames(p.spec)); err != nil {
		return err
	}
	if p.volumes, err = p.mount(); err != nil {
		return err
	}
	// Any program that stays would do; a kubelet's is called pause.
	_, err = docker("run", "--detach", "--name", p.sandboxName(), "--label", label, "--label", p.cluster.label(), "--hostname", p.Name,
		"--network", p.cluster.network.name, "--ip", address, "--cap-drop", "ALL", "--read-only", "--user", "999:999",
		"--entrypoint", "sleep", p.cluster.pause, "infinity")
	if err != nil {
		return err
	}
	pid, err := docker("inspect", "--format", "{{.State.Pid}}", p.sandboxName())
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.address = address
	p.pid, err = strconv.Atoi(pid)
	p.mu.Unlock()
	p.note("", "has the address "+address)
	p.cluster.network.dns.set(p.spec.Subdomain, p.Name, address)
	return err
}

// withoutNames leaves out what the set gives each Pod.
func withoutNames(spec corev1.PodSpec) corev1.PodSpec {
	spec.Hostname, spec.Subdomain = "", ""
	return spec
}

// serve starts the containers in Kubernetes' order, and ends them in Kubernetes' order: when the Pod is deleted, or, where nothing is restarted,
// when all ordinary containers have ended. See kubernetes.io/docs/concepts/workloads/pods/sidecar-containers.
func (p *Pod) serve() {
	var sidecars, ordinary []*container
	for _, spec := range p.spec.InitContainers {
		if p.over(p.stopping) {
			break
		}
		c := p.start(spec, !native(spec))
		if native(spec) {
			sidecars = append(sidecars, c)
			p.await(c)
			continue
		}
		select {
		case <-c.done:
		case <-p.stopping:
			c.end(time.Now().Add(p.grace()))
		case <-p.life.Done():
			<-c.done
		}
	}
	finished := make(chan struct{})
	if !p.over(p.stopping) {
		for _, spec := range p.spec.Containers {
			ordinary = append(ordinary, p.start(spec, p.spec.RestartPolicy == corev1.RestartPolicyNever))
		}
		go func() {
			defer close(finished)
			wait(ordinary)
		}()
	}
	select {
	case <-finished:
	case <-p.stopping:
	case <-p.life.Done():
	}
	p.mu.Lock()
	p.terminating = true
	p.mu.Unlock()
	until := time.Now().Add(p.grace())
	end(ordinary, until)
	for i := range sidecars { // the last one to start is the first to end
		sidecars[len(sidecars)-1-i].end(until)
	}
	wait(p.all())
}

// await returns when a native sidecar has started, by its startup probe if it has one.
func (p *Pod) await(c *container) {
	for !p.over(p.stopping) {
		c.mu.Lock()
		started := c.started
		c.mu.Unlock()
		if started {
			return
		}
		pause(p.life, 20*time.Millisecond)
	}
}

func wait(all []*container) {
	for _, c := range all {
		<-c.done
	}
}

// end ends containers at the same time.
func end(all []*container, until time.Time) {
	var ending sync.WaitGroup
	for _, c := range all {
		ending.Go(func() { c.end(until) })
	}
	ending.Wait()
}

func (p *Pod) grace() time.Duration {
	return time.Duration(*p.spec.TerminationGracePeriodSeconds) * time.Second
}

func (p *Pod) all() []*container {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*container{}, p.containers...)
}

// container returns the Pod's container of a name; nil before its turn has come.
func (p *Pod) container(name string) *container {
	for _, c := range p.all() {
		if c.spec.Name == name {
			return c
		}
	}
	return nil
}

// Ready says whether Services may lead to the Pod: everything that is to run runs, and every readiness probe succeeds.
func (p *Pod) Ready() bool {
	p.mu.Lock()
	terminating := p.terminating
	p.mu.Unlock()
	want := len(p.spec.Containers)
	for _, c := range p.spec.InitContainers {
		if native(c) {
			want++
		}
	}
	for _, c := range p.all() {
		c.mu.Lock()
		if c.ready && c.id != "" && (native(c.spec) || !c.once) {
			want--
		}
		c.mu.Unlock()
	}
	return want == 0 && !terminating
}

// Exits returns how the runs of a container have ended so far.
func (p *Pod) Exits(name string) []Exit {
	c := p.container(name)
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Exit{}, c.exits...)
}

// Events returns what has happened to the Pod in this life, in order.
func (p *Pod) Events() []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Event{}, p.events...)
}

// Exec runs a program in a container, as kubectl exec does, and returns what it prints, its exit code, and what it says beside.
func (p *Pod) Exec(ctx context.Context, container string, argv ...string) (stdout string, code int, stderr error) {
	c := p.container(container)
	if c == nil || c.running() == "" {
		return "", -1, fmt.Errorf("%s: %s does not run", p.Name, container)
	}
	return execute(ctx, append([]string{"exec", c.running()}, argv...))
}

// Log returns what a container has printed in this Pod's lives, its runs before this one included.
func (p *Pod) Log(name string) string {
	text, err := os.ReadFile(filepath.Join(p.dir, "log", name+".log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	if c := p.container(name); c != nil && c.running() != "" {
		if now, err := logs(c.running()); err == nil {
			text = append(text, now...)
		}
	}
	return string(text)
}

// Changed returns which files the Pod's containers have changed outside of their mounts, those that run included.
func (p *Pod) Changed() (found []string, err error) {
	for _, c := range p.all() {
		c.mu.Lock()
		id, changed := c.id, c.changed
		c.mu.Unlock()
		if id != "" {
			now, err := c.changes(id)
			if err != nil {
				return nil, err
			}
			changed = append(changed, now...)
		}
		for _, line := range changed {
			found = append(found, c.spec.Name+": "+line)
		}
	}
	return found, nil
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
