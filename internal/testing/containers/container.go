package containers

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Pauses between two runs of a container that ends. A kubelet's go from 10 s to 5 min; like those they begin anew after a run of some length.
const (
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 4 * time.Second
	resetBackoff = 15 * time.Second
)

// An Exit is the end of one run of a container.
type Exit struct {
	Code     int
	Finished time.Time
}

// A container is one container of a Pod through all its runs, each with a root file system of its own.
type container struct {
	pod  *Pod
	spec corev1.Container
	once bool // a run with code 0 is the last one; where nothing is restarted any run is

	last chan struct{} // closed by stop: no further run
	stop func()
	done chan struct{} // closed when the last run has ended

	mu      sync.Mutex
	id      string // of the run under way; "" between runs
	exits   []Exit
	started bool // the startup probe has succeeded in this run, or there is none
	ready   bool // the readiness probe succeeds, or there is none
	changed []string
}

// start begins to run a container and returns.
func (p *Pod) start(spec corev1.Container, once bool) *container {
	last := make(chan struct{})
	c := &container{pod: p, spec: spec, once: once, last: last, stop: sync.OnceFunc(func() { close(last) }), done: make(chan struct{})}
	p.mu.Lock()
	p.containers = append(p.containers, c)
	p.mu.Unlock()
	go func() {
		defer close(c.done)
		c.loop()
	}()
	return c
}

func (c *container) loop() {
	backoff := time.Duration(0)
	for run := 0; !c.pod.over(c.last); run++ {
		began := time.Now()
		exit, err := c.run(run)
		if err != nil {
			c.pod.note(c.spec.Name, "cannot run: "+err.Error())
			exit.Code = -1
		}
		c.mu.Lock()
		c.id, c.started, c.ready = "", false, false
		c.exits = append(c.exits, exit)
		c.mu.Unlock()
		if c.once && (exit.Code == 0 || c.pod.spec.RestartPolicy == corev1.RestartPolicyNever) {
			return
		}
		if backoff *= 2; backoff == 0 || time.Since(began) > resetBackoff {
			backoff = firstBackoff
		}
		backoff = min(backoff, maxBackoff)
		select {
		case <-c.last:
		case <-c.pod.life.Done():
		case <-time.After(backoff):
		}
	}
}

// run creates and starts the container anew, and returns when it has ended, with its log and what it has left behind saved.
func (c *container) run(number int) (Exit, error) {
	args, err := c.pod.arguments(c.spec)
	if err != nil {
		return Exit{}, err
	}
	name := fmt.Sprintf("%s-%s-%d", c.pod.sandboxName(), c.spec.Name, number)
	id, err := docker(append([]string{"create", "--name", name}, args...)...)
	if err != nil {
		return Exit{}, err
	}
	defer docker("rm", "--force", "--volumes", id)
	c.mu.Lock()
	if c.pod.over(c.last) { // deleted, or without power, meanwhile
		c.mu.Unlock()
		return Exit{Finished: time.Now()}, nil
	}
	_, err = docker("start", id) // under the lock: a kill comes before, and nothing starts, or after, and hits it
	if err == nil {
		c.id = id
	}
	c.mu.Unlock()
	if err != nil {
		return Exit{}, err
	}
	c.pod.note(c.spec.Name, "started")
	probes := c.probe(id)
	_, err = waitFor(id)
	probes()
	if err != nil {
		return Exit{}, err
	}
	exit, err := c.look(id)
	c.pod.note(c.spec.Name, fmt.Sprintf("ended with code %d", exit.Code))
	return exit, err
}

// waitFor returns when a container has ended. There is no deadline: a server runs for as long as it runs.
func waitFor(id string) (string, error) {
	for {
		code, err := docker("wait", id)
		if err == nil || !strings.Contains(err.Error(), "signal: killed") { // of the client program, after its time
			return code, err
		}
	}
}

// look reads how a container has ended, and keeps its log and the names of the files that it has changed outside of its mounts.
func (c *container) look(id string) (Exit, error) {
	line, err := docker("inspect", "--format", "{{.State.ExitCode}} {{.State.FinishedAt}}", id)
	if err != nil {
		return Exit{}, err
	}
	code, at, _ := strings.Cut(line, " ")
	exit := Exit{}
	if exit.Code, err = strconv.Atoi(code); err != nil {
		return Exit{}, err
	}
	if exit.Finished, err = time.Parse(time.RFC3339Nano, at); err != nil {
		return Exit{}, err
	}
	changed, err := c.changes(id)
	if err != nil {
		return exit, err
	}
	c.mu.Lock()
	c.changed = append(c.changed, changed...)
	c.mu.Unlock()
	return exit, c.saveLog(id)
}

// changes returns which files a container has changed outside of its mounts, as `docker diff` does. The engine makes what things are mounted on.
func (c *container) changes(id string) (found []string, err error) {
	all, err := changedFiles(id)
	if err != nil {
		return nil, err
	}
	targets := []string{"/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/.dockerenv", "/dev/", "/proc/", "/sys/"}
	for _, m := range c.spec.VolumeMounts {
		targets = append(targets, m.MountPath)
		if under, ok := strings.CutPrefix(m.MountPath, "/var/run/"); ok {
			targets = append(targets, "/run/"+under) // the image has a link there
		}
	}
	return slices.DeleteFunc(all, func(path string) bool {
		return slices.ContainsFunc(targets, func(target string) bool {
			return path == target || strings.HasPrefix(target, path+"/") || strings.HasSuffix(target, "/") && strings.HasPrefix(path, target)
		})
	}), nil
}

// changedFiles reads the layer that a container writes to. `docker diff` compares all files of the image one by one, where it has to.
func changedFiles(id string) (found []string, err error) {
	layer, err := docker("inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", id)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(layer); err != nil || !info.IsDir() {
		diff, err := docker("diff", id)
		for line := range strings.Lines(diff) {
			_, path, _ := strings.Cut(strings.TrimSpace(line), " ")
			found = append(found, path)
		}
		return found, err
	}
	return found, fs.WalkDir(os.DirFS(layer), ".", func(name string, _ fs.DirEntry, err error) error {
		if name != "." && !strings.HasPrefix(filepath.Base(name), ".wh..") { // marks of the storage driver's own
			found = append(found, "/"+name)
		}
		return err
	})
}

func (c *container) logFile() string { return filepath.Join(c.pod.dir, "log", c.spec.Name+".log") }

func (c *container) saveLog(id string) error {
	if err := os.MkdirAll(filepath.Dir(c.logFile()), 0o755); err != nil {
		return err
	}
	log, err := logs(id)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(c.logFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteString(log + "\n")
	return err
}

// kill sends a signal to the run under way, and returns whether there was one. Not from a run's own goroutine.
func (c *container) kill(signal string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id == "" {
		return false
	}
	c.pod.note(c.spec.Name, "gets "+signal)
	_, err := docker("kill", "--signal", signal, c.id)
	return err == nil // it may have ended by itself just now
}

// end stops a container for good: SIGTERM, and SIGKILL when its time is over.
func (c *container) end(until time.Time) {
	c.stop()
	if c.pod.life.Err() == nil {
		c.kill("TERM")
	}
	select {
	case <-c.done:
		return
	case <-time.After(time.Until(until)):
	case <-c.pod.life.Done(): // by whoever takes the power away
		return
	}
	c.pod.note(c.spec.Name, "its grace is over")
	c.kill("KILL")
	<-c.done
}

// running returns the engine's name of the run under way, "" between two runs.
func (c *container) running() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id
}
