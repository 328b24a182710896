package containers

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// arguments returns what `docker create` has to be told so that a container is what its manifest says.
func (p *Pod) arguments(c corev1.Container) ([]string, error) {
	if err := known(c); err != nil {
		return nil, fmt.Errorf("container %s: %w", c.Name, err)
	}
	args := []string{
		"--label", label, "--label", p.cluster.label(),
		"--network", "container:" + p.sandboxName(),
		"--mount", "type=bind,readonly,source=" + p.cluster.resolvConf + ",target=/etc/resolv.conf",
	}
	security, err := p.security(c)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", c.Name, err)
	}
	args = append(args, security...)
	if limit := c.Resources.Limits[corev1.ResourceMemory]; limit != (resource.Quantity{}) {
		args = append(args, "--memory", strconv.FormatInt(limit.Value(), 10))
	}
	for _, e := range c.Env {
		value, err := p.value(e)
		if err != nil {
			return nil, fmt.Errorf("container %s: %s: %w", c.Name, e.Name, err)
		}
		args = append(args, "--env", e.Name+"="+value)
	}
	for _, m := range c.VolumeMounts {
		source, ok := p.volumes[m.Name]
		if !ok {
			return nil, fmt.Errorf("container %s mounts %s, which is no volume of the Pod", c.Name, m.Name)
		}
		mount := "type=bind,source=" + source + ",target=" + m.MountPath
		if m.ReadOnly {
			mount += ",readonly"
		}
		args = append(args, "--mount", mount)
	}
	if len(c.Command) > 0 {
		args = append(args, "--entrypoint", c.Command[0])
	}
	args = append(args, c.Image)
	if len(c.Command) > 0 {
		args = append(args, c.Command[1:]...)
	}
	return append(args, c.Args...), nil
}

// security says who the program is and what it may do. What the manifest leaves out is the image's and the engine's, as on a cluster.
func (p *Pod) security(c corev1.Container) (args []string, err error) {
	pod := p.spec.SecurityContext
	if pod.SeccompProfile == nil || pod.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		return nil, errors.New("the Pod has another seccomp profile than the engine's own")
	}
	if pod.RunAsUser != nil {
		args = append(args, "--user", fmt.Sprintf("%d:%d", *pod.RunAsUser, *pod.RunAsGroup))
	}
	if pod.FSGroup != nil {
		args = append(args, "--group-add", strconv.FormatInt(*pod.FSGroup, 10))
	}
	own := c.SecurityContext
	if own == nil {
		return args, nil
	}
	if own.ReadOnlyRootFilesystem != nil && *own.ReadOnlyRootFilesystem {
		args = append(args, "--read-only")
	}
	if own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation {
		args = append(args, "--security-opt", "no-new-privileges")
	}
	if own.Capabilities != nil {
		for _, c := range own.Capabilities.Drop {
			args = append(args, "--cap-drop", string(c))
		}
	}
	return args, nil
}

// value returns what a variable of the environment is in this Pod.
func (p *Pod) value(e corev1.EnvVar) (string, error) {
	switch from := e.ValueFrom; {
	case from == nil:
		return e.Value, nil
	case from.FieldRef != nil && from.FieldRef.FieldPath == "metadata.name":
		return p.Name, nil
	case from.ConfigMapKeyRef != nil:
		if m := p.cluster.manifest.ConfigMaps[from.ConfigMapKeyRef.Name]; m != nil {
			return m.Data[from.ConfigMapKeyRef.Key], nil
		}
	}
	return "", errors.New("a source of a value that this package does not know")
}

// known refuses what arguments would leave out: the rest of the container has to be empty.
func known(c corev1.Container) error {
	if own := c.SecurityContext; own != nil {
		rest := *own
		rest.ReadOnlyRootFilesystem, rest.AllowPrivilegeEscalation = nil, nil
		if rest.Capabilities != nil && len(rest.Capabilities.Add) == 0 {
			rest.Capabilities = nil
		}
		if !reflect.ValueOf(rest).IsZero() {
			return fmt.Errorf("securityContext has fields that this package does not know: %+v", rest)
		}
	}
	for _, m := range c.VolumeMounts {
		m.Name, m.MountPath, m.ReadOnly = "", "", false
		if !reflect.ValueOf(m).IsZero() {
			return fmt.Errorf("a mount has fields that this package does not know: %+v", m)
		}
	}
	c.Name, c.Image, c.Command, c.Args, c.Env, c.VolumeMounts = "", "", nil, nil, nil, nil
	c.SecurityContext, c.RestartPolicy = nil, nil
	c.Ports = nil                                                     // information
	c.Resources = corev1.ResourceRequirements{}                       // requests are the scheduler's
	c.StartupProbe, c.ReadinessProbe, c.LivenessProbe = nil, nil, nil // see probe.go
	if !reflect.ValueOf(c).IsZero() {
		return fmt.Errorf("fields that this package does not know: %+v", c)
	}
	return nil
}

// knownPod is known for a Pod as a whole.
func knownPod(spec corev1.PodSpec) error {
	if s := spec.SecurityContext; s == nil || s.RunAsUser == nil || s.RunAsGroup == nil || s.FSGroup == nil || spec.TerminationGracePeriodSeconds == nil {
		return errors.New("the Pod does not say its user, its groups or its grace period")
	}
	spec.InitContainers, spec.Containers, spec.Volumes, spec.SecurityContext = nil, nil, nil, nil
	spec.RestartPolicy, spec.TerminationGracePeriodSeconds = "", nil
	spec.AutomountServiceAccountToken = nil                  // nothing is mounted in any case
	spec.TopologySpreadConstraints, spec.Affinity = nil, nil // the scheduler's
	spec.DNSPolicy = ""
	if !reflect.ValueOf(spec).IsZero() {
		return fmt.Errorf("the Pod has fields that this package does not know: %+v", spec)
	}
	return nil
}

// native says whether an init container goes on running beside the others.
func native(c corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
