package containers

import (
	"errors"
	"fmt"
)

// PowerOff switches off what some Pods run on, all at the same instant: every container gets SIGKILL, what holds the network too, and nobody
// restarts anything. It returns when nothing of them runs. Their names go on leading to their former addresses until they are made anew.
func (c *Cluster) PowerOff(ordinals ...int) {
	var pods []*Pod
	for _, ordinal := range ordinals {
		if p := c.Pod(ordinal); p != nil {
			pods = append(pods, p)
		}
	}
	c.powerOff(pods)
}

func (c *Cluster) powerOff(pods []*Pod) {
	kill := []string{"kill", "--signal", "KILL"}
	for _, p := range pods {
		p.powerOff()
		p.note("", "is without power")
	}
	for _, p := range pods {
		kill = append(kill, p.sandboxName())
		for _, container := range p.all() {
			if id := container.running(); id != "" {
				kill = append(kill, id)
			}
		}
	}
	if len(pods) > 0 {
		_, _ = docker(kill...) // some may have ended by themselves just now; what matters is that none runs, see below
	}
	for _, p := range pods {
		<-p.gone
	}
	_ = c.waitGone(c.ctx, pods...)
}

// Kill9 kills what runs of a container, as a crash does. It is restarted.
func (p *Pod) Kill9(container string) error {
	if c := p.container(container); c == nil || !c.kill("KILL") {
		return fmt.Errorf("%s: %s does not run", p.Name, container)
	}
	return nil
}

// Cut drops, without a word, all packets between Pods of two groups, both ways, in the Pods' own networks: neither end is told. Clients and
// probes, which come from the node, are not affected. It returns what mends it again; a Pod that was made anew meanwhile is not cut any more.
func (c *Cluster) Cut(some, others []int) (mend func() error, err error) {
	var mends []func() error
	mend = func() (err error) {
		for _, m := range mends {
			err = errors.Join(err, m())
		}
		return err
	}
	for _, a := range some {
		for _, b := range others {
			for _, way := range [][2]*Pod{{c.Pod(a), c.Pod(b)}, {c.Pod(b), c.Pod(a)}} {
				m, err := way[0].drop(way[1].Address())
				if err != nil {
					return nil, errors.Join(err, mend())
				}
				mends = append(mends, m)
			}
		}
	}
	return mend, nil
}

// drop makes a Pod lose every packet that comes from an address.
func (p *Pod) drop(from string) (mend func() error, err error) {
	pid := p.sandboxPID()
	rule := func(do string) error {
		_, err := tool("nsenter", "-t", fmt.Sprint(pid), "-n", "iptables", "-w", do, "INPUT", "-s", from, "-j", "DROP")
		return err
	}
	if err := rule("-A"); err != nil {
		return nil, fmt.Errorf("cut %s: %w", p.Name, err)
	}
	return func() error {
		if p.life.Err() != nil || p.cluster.existsNoMore(p) {
			return nil
		}
		return rule("-D")
	}, nil
}

func (c *Cluster) existsNoMore(p *Pod) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pods[p.Name] != p
}
