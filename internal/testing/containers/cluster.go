package containers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"ordinal/mysqlx"
)

// Options describe a cluster with one StatefulSet.
type Options struct {
	// Dir holds everything of the node: volumes, logs, what is built from the manifests. Its path is short: it becomes a socket's.
	Dir string
	// Name begins the engine's names of everything: two clusters at the same time have two.
	Name string
	// Overlay is built and applied.
	Overlay Overlay
	// Pause is an image with a program sleep.
	Pause string
	// VolumeSize is that of each Pod's volume, in bytes. 0: the machine's own disk.
	VolumeSize int64
}

// A Cluster is a node, a network and a StatefulSet's Pods. Its methods may be called concurrently.
type Cluster struct {
	ctx        context.Context
	stop       context.CancelFunc
	options    Options
	manifest   *Manifest
	network    *Network
	prefix     string // of the engine's names
	pause      string
	resolvConf string // a file

	mu       sync.Mutex
	pods     map[string]*Pod // that exist, by name
	claims   map[string]*Volume
	services map[string]*Service
	dbs      map[int]*mysqlx.DB
	events   []Event
}

// New makes a cluster with its network and Services. It starts no Pod.
func New(o Options) (*Cluster, error) {
	manifest, err := o.Overlay.Build(filepath.Join(o.Dir, "manifests"))
	if err != nil {
		return nil, err
	}
	governing, err := manifest.headless()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Cluster{
		ctx: ctx, stop: stop, options: o, manifest: manifest, prefix: fmt.Sprintf("%s-%d", o.Name, os.Getpid()), pause: o.Pause,
		resolvConf: filepath.Join(o.Dir, "resolv.conf"),
		pods:       map[string]*Pod{}, claims: map[string]*Volume{}, services: map[string]*Service{}, dbs: map[int]*mysqlx.DB{},
	}
	if c.network, err = newNetwork(c.prefix); err != nil {
		return nil, err
	}
	var ports []uint16
	for _, p := range governing.Spec.Ports {
		ports = append(ports, uint16(p.Port))
	}
	c.network.dns.publish(governing.Name, ports)
	if err := os.WriteFile(c.resolvConf, []byte(c.network.resolvConf()), 0o644); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	for _, s := range manifest.Services {
		if s == governing {
			continue
		}
		if c.services[s.Name], err = c.serve(s); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// label is on everything of this cluster.
func (c *Cluster) label() string { return "ordinal.cluster=" + c.prefix }

// Close takes everything away, as a power cut does.
func (c *Cluster) Close() error {
	c.powerOff(c.all())
	c.stop()
	c.mu.Lock()
	services, claims, dbs := c.services, c.claims, c.dbs
	c.mu.Unlock()
	for _, s := range services {
		s.close()
	}
	for _, db := range dbs {
		_ = db.Close() // its server is gone
	}
	var err error
	for _, v := range claims {
		err = errors.Join(err, v.remove())
	}
	return errors.Join(err, c.network.close())
}

func (c *Cluster) note(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
}

// Replicas is the number of Pods that the StatefulSet has, the source included.
func (c *Cluster) Replicas() int { return int(*c.manifest.Set.Spec.Replicas) }

// Name is a Pod's name.
func (c *Cluster) Name(ordinal int) string { return fmt.Sprintf("%s-%d", c.manifest.Set.Name, ordinal) }

// Pod returns a Pod that exists; nil if none does.
func (c *Cluster) Pod(ordinal int) *Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pods[c.Name(ordinal)]
}

// Service returns one of the manifest's Services; the governing one is not among them.
func (c *Cluster) Service(name string) *Service {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.services[name]
}

func (c *Cluster) all() (pods []*Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pods {
		pods = append(pods, p)
	}
	return pods
}

// claim returns what a claim is bound to; nil if it is not.
func (c *Cluster) claim(name string) *Volume {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.claims[name]
}

// bind gives a claim a new volume, unless it has one.
func (c *Cluster) bind(name string, size int64) (*Volume, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.claims[name]; v != nil {
		return v, nil
	}
	v, err := newVolume(filepath.Join(c.options.Dir, "claims", name), size)
	if err != nil {
		return nil, err
	}
	c.claims[name] = v
	return v, nil
}

// Volume is what the first claim of a Pod is bound to; nil if it is not.
func (c *Cluster) Volume(ordinal int) *Volume { return c.claim(c.claimName(ordinal)) }

func (c *Cluster) claimName(ordinal int) string {
	return c.manifest.Set.Spec.VolumeClaimTemplates[0].Name + "-" + c.Name(ordinal)
}

// DropVolume removes the volume of a Pod that does not exist at the moment. The next one gets a new one.
func (c *Cluster) DropVolume(ordinal int) error {
	name := c.claimName(ordinal)
	c.mu.Lock()
	v := c.claims[name]
	delete(c.claims, name)
	c.mu.Unlock()
	return v.remove()
}

// Create makes a Pod with a new address, as a StatefulSet's controller does, and returns when it has begun. It waits for nothing.
func (c *Cluster) Create(ordinal int) (*Pod, error) { return c.CreateAt(ordinal, "") }

// CreateAt is Create with an address of the network to use; "" a new one.
func (c *Cluster) CreateAt(ordinal int, address string) (*Pod, error) {
	return c.createFrom(ordinal, address, c.manifest)
}

// createFrom makes a Pod from another version of the StatefulSet.
func (c *Cluster) createFrom(ordinal int, address string, m *Manifest) (*Pod, error) {
	set := m.Set
	template := set.Spec.Template.DeepCopy()
	name := c.Name(ordinal)
	template.Labels["statefulset.kubernetes.io/pod-name"] = name
	template.Labels["apps.kubernetes.io/pod-index"] = fmt.Sprint(ordinal)
	template.Spec.Hostname, template.Spec.Subdomain = name, set.Spec.ServiceName
	template.Spec.RestartPolicy = corev1.RestartPolicyAlways
	claims := map[string]*Volume{}
	for _, claim := range set.Spec.VolumeClaimTemplates {
		v, err := c.bind(claim.Name+"-"+name, c.options.VolumeSize)
		if err != nil {
			return nil, err
		}
		claims[claim.Name] = v
	}
	return c.launch(name, *template, claims, address)
}

// launch begins a Pod's life.
func (c *Cluster) launch(name string, template corev1.PodTemplateSpec, claims map[string]*Volume, address string) (*Pod, error) {
	life, powerOff := context.WithCancel(c.ctx)
	stopping := make(chan struct{})
	p := &Pod{
		Name: name, cluster: c, dir: filepath.Join(c.options.Dir, name), labels: template.Labels, spec: template.Spec, claims: claims,
		life: life, powerOff: powerOff,
		stopping: stopping, remove: sync.OnceFunc(func() { close(stopping) }), gone: make(chan struct{}),
	}
	if address == "" {
		address = c.network.newAddress()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pods[name] != nil {
		powerOff()
		return nil, fmt.Errorf("%s exists", name)
	}
	c.pods[name] = p
	go func() {
		p.run(address)
		c.mu.Lock()
		if c.pods[name] == p {
			delete(c.pods, name)
		}
		c.mu.Unlock()
	}()
	return p, nil
}

// Delete ends a Pod in order, and returns when it is gone.
func (c *Cluster) Delete(ctx context.Context, ordinals ...int) error {
	var pods []*Pod
	for _, ordinal := range ordinals {
		if p := c.Pod(ordinal); p != nil {
			p.remove()
			pods = append(pods, p)
		}
	}
	return c.waitGone(ctx, pods...)
}

func (c *Cluster) waitGone(ctx context.Context, pods ...*Pod) error {
	for _, p := range pods {
		err := c.poll(ctx, "wait for the end of "+p.Name, func() error {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.pods[p.Name] == p {
				return errors.New("it is there")
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const pollInterval = 50 * time.Millisecond

// poll calls try until it returns nil. When ctx ends first, the error says what was missing last.
func (c *Cluster) poll(ctx context.Context, what string, try func() error) error {
	var last error
	for {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // an attempt that was cut off says nothing new
			last = err
		}
		if !pause(ctx, pollInterval) {
			return fmt.Errorf("%s: %w; last: %w", what, context.Cause(ctx), last)
		}
	}
}

// pause returns false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// Logs returns the ends of all logs and the latest events: what to look at when something went wrong.
func (c *Cluster) Logs(lines int) string {
	var b strings.Builder
	for _, p := range c.all() {
		specs := append(append([]corev1.Container{}, p.spec.InitContainers...), p.spec.Containers...)
		for _, spec := range specs {
			fmt.Fprintf(&b, "--- %s %s\n%s\n", p.Name, spec.Name, tail(p.Log(spec.Name), lines))
		}
	}
	return b.String() + "--- events\n" + tail(c.Happened(), 2*lines)
}

// Happened returns all events, a line each.
func (c *Cluster) Happened() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, e := range c.events {
		fmt.Fprintln(&b, e)
	}
	return b.String()
}
