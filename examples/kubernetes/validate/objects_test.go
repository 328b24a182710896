package validate

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// objects is what one set of manifests makes, as Kubernetes' own types.
type objects struct {
	text       []byte
	names      []string // kind and name of all, in order
	set        *appsv1.StatefulSet
	services   []*corev1.Service
	secrets    []*corev1.Secret
	configs    []*corev1.ConfigMap
	budgets    []*policyv1.PodDisruptionBudget
	policies   []*networkingv1.NetworkPolicy
	cronJobs   []*batchv1.CronJob
	pods       []*corev1.Pod
	namespaces []*corev1.Namespace
	monitors   []*serviceMonitor
}

// decoder refuses unknown and repeated fields, as `kubectl apply --validate=strict` does, and kinds that are not registered here.
var decoder = func() runtime.Decoder {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
}()

// decode takes the documents of text apart.
func decode(text []byte) (*objects, error) {
	o := &objects{text: text}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for i := 1; ; i++ {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return o, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i, err)
		}
		if err := o.add(document); err != nil {
			return nil, fmt.Errorf("document %d: %w\n%s", i, err, document)
		}
	}
}

func (o *objects) add(document []byte) error {
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(document, &kind); err != nil {
		return err
	}
	switch kind.APIVersion + " " + kind.Kind {
	case " ":
		return nil // only comments
	case "monitoring.coreos.com/v1 ServiceMonitor":
		monitor := &serviceMonitor{}
		o.monitors = append(o.monitors, monitor)
		o.names = append(o.names, "ServiceMonitor")
		return yaml.UnmarshalStrict(document, monitor)
	}
	object, _, err := decoder.Decode(document, nil, nil)
	if err != nil {
		return err
	}
	switch object := object.(type) {
	case *appsv1.StatefulSet:
		if o.set != nil {
			return fmt.Errorf("a second StatefulSet, %s", object.Name)
		}
		o.set = object
	case *corev1.Service:
		o.services = append(o.services, object)
	case *corev1.Secret:
		o.secrets = append(o.secrets, object)
	case *corev1.ConfigMap:
		o.configs = append(o.configs, object)
	case *corev1.Namespace:
		o.namespaces = append(o.namespaces, object)
	case *corev1.Pod:
		o.pods = append(o.pods, object)
	case *policyv1.PodDisruptionBudget:
		o.budgets = append(o.budgets, object)
	case *networkingv1.NetworkPolicy:
		o.policies = append(o.policies, object)
	case *batchv1.CronJob:
		o.cronJobs = append(o.cronJobs, object)
	default:
		return fmt.Errorf("%T: say in this test what it has to be like", object)
	}
	m, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	o.names = append(o.names, kind.Kind+" "+m.GetName())
	return nil
}

// serviceMonitor is of the Prometheus operator's custom resource what is used here, by the operator's own documentation.
type serviceMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		NamespaceSelector struct {
			MatchNames []string `json:"matchNames"`
		} `json:"namespaceSelector"`
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port        string `json:"port"`
			Path        string `json:"path"`
			Interval    string `json:"interval"`
			Relabelings []struct {
				Regex  string `json:"regex"`
				Action string `json:"action"`
			} `json:"relabelings"`
		} `json:"endpoints"`
	} `json:"spec"`
}

// A workload is something that makes Pods.
type workload struct {
	name string // "StatefulSet mysql"
	job  *batchv1.JobSpec
	pod  corev1.PodTemplateSpec
}

func (o *objects) workloads() []workload {
	var all []workload
	if o.set != nil {
		all = append(all, workload{name: "StatefulSet " + o.set.Name, pod: o.set.Spec.Template})
	}
	for _, c := range o.cronJobs {
		all = append(all, workload{name: "CronJob " + c.Name, job: &c.Spec.JobTemplate.Spec, pod: c.Spec.JobTemplate.Spec.Template})
	}
	for _, p := range o.pods {
		all = append(all, workload{name: "Pod " + p.Name, pod: corev1.PodTemplateSpec{ObjectMeta: p.ObjectMeta, Spec: p.Spec}})
	}
	return all
}

// containers are all of a Pod's, in the order in which they are started.
func containers(pod corev1.PodSpec) []corev1.Container {
	return slices.Concat(pod.InitContainers, pod.Containers)
}

func container(pod corev1.PodSpec, name string) *corev1.Container {
	all := containers(pod)
	if i := slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == name }); i >= 0 {
		return &all[i]
	}
	return nil
}

// nativeSidecar says whether an init container goes on running beside the others.
func nativeSidecar(c corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
