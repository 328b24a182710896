package containers

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// probe asks a container's probes from when it has started until the function that it returns is called: the startup probe until it succeeds,
// then the others. Without a probe the answer is yes.
func (c *container) probe(id string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	asking.Go(func() {
		c.watch(ctx, c.spec.StartupProbe, func(ok bool) bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.started = ok
			return !ok
		}, func() { c.kill("KILL") })
		asking.Go(func() {
			c.watch(ctx, c.spec.ReadinessProbe, c.setReady, func() {})
		})
		if c.spec.LivenessProbe != nil {
			c.watch(ctx, c.spec.LivenessProbe, func(bool) bool { return true }, func() { c.kill("TERM") })
		}
	})
	return func() {
		cancel()
		asking.Wait()
	}
}

// setReady notes what the readiness probe says. It goes on.
func (c *container) setReady(ok bool) bool {
	c.mu.Lock()
	changed := c.ready != ok
	c.ready = ok
	c.mu.Unlock()
	if changed && c.spec.ReadinessProbe != nil {
		c.pod.note(c.spec.Name, map[bool]string{true: "is ready", false: "is not ready"}[ok])
	}
	return true
}

// watch asks one probe, and says yes at the first success and no after failureThreshold failures in a row, until tell returns false. failed is
// called with each no, after tell.
func (c *container) watch(ctx context.Context, probe *corev1.Probe, tell func(ok bool) (goOn bool), failed func()) {
	if probe == nil {
		tell(true)
		return
	}
	tick := time.NewTicker(time.Duration(probe.PeriodSeconds) * time.Second)
	defer tick.Stop()
	for failures := int32(0); ; {
		err := c.ask(ctx, probe)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			failures = 0
			if !tell(true) {
				return
			}
		} else if failures++; failures >= probe.FailureThreshold {
			failures = 0
			if !tell(false) {
				return
			}
			failed()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ask asks once, as a kubelet does: from the node, at the Pod's address.
func (c *container) ask(ctx context.Context, probe *corev1.Probe) error {
	if probe.HTTPGet == nil {
		return fmt.Errorf("a kind of probe that this package does not know: %+v", probe)
	}
	port := probe.HTTPGet.Port.IntVal
	if port == 0 {
		var err error
		if port, err = named(c.pod.spec, probe.HTTPGet.Port.StrVal); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(probe.TimeoutSeconds)*time.Second)
	defer cancel()
	code, _, err := get(ctx, "http://"+net.JoinHostPort(c.pod.Address(), fmt.Sprint(port))+probe.HTTPGet.Path)
	if err == nil && (code < http.StatusOK || code >= http.StatusBadRequest) {
		err = fmt.Errorf("answer %d", code)
	}
	return err
}
