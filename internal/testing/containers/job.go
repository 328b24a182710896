package containers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// RunJob starts the Pod of a CronJob, as `kubectl create job --from` and then the Job's controller do. change may change it before; nil: nothing.
// The Pod is over when its ordinary containers have ended: see Finished.
func (c *Cluster) RunJob(cronJob, name string, change func(*corev1.PodSpec)) (*Pod, error) {
	j := c.manifest.CronJobs[cronJob]
	if j == nil {
		return nil, fmt.Errorf("there is no CronJob %q", cronJob)
	}
	template := j.Spec.JobTemplate.Spec.Template.DeepCopy()
	template.Spec.Hostname = name
	if change != nil {
		change(&template.Spec)
	}
	return c.launch(name, *template, nil, "")
}

// Finished waits for the end of a Job's Pod and returns the exit code of its container.
func (c *Cluster) Finished(ctx context.Context, p *Pod) (code int, err error) {
	select {
	case <-p.gone:
	case <-ctx.Done():
		return -1, fmt.Errorf("wait for the end of %s: %w", p.Name, context.Cause(ctx))
	}
	exits := p.Exits(p.spec.Containers[0].Name)
	if len(exits) != 1 {
		return -1, fmt.Errorf("%s has run %d times", p.Name, len(exits))
	}
	return exits[0].Code, nil
}
