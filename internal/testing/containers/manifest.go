package containers

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// A Manifest is what one overlay makes, as Kubernetes' own types.
type Manifest struct {
	Set        *appsv1.StatefulSet
	Services   []*corev1.Service
	Secrets    map[string]*corev1.Secret
	ConfigMaps map[string]*corev1.ConfigMap
	CronJobs   map[string]*batchv1.CronJob
}

// An Overlay is what a user adds to examples/kubernetes: the text of a kustomization.yaml in a folder of overlays, and the two files that the
// README lets them make.
type Overlay struct {
	Kustomization string
	// Above is the text of one more, whose resources are ../containers; "" for none. A component that moves a container has to come after the
	// patches that name it.
	Above                       string
	ClusterSecret, RootPassword string
}

// Build copies examples/kubernetes into a folder of its own, adds the overlay, and builds it.
func (o Overlay) Build(dir string) (*Manifest, error) {
	_, here, _, _ := runtime.Caller(0)
	examples := os.DirFS(filepath.Join(filepath.Dir(here), "../../../examples/kubernetes"))
	if err := copyFolders(dir, examples, "base", "components", "secrets"); err != nil {
		return nil, err
	}
	files := map[string]string{
		"secrets/cluster-secret":                 o.ClusterSecret,
		"secrets/root-password":                  o.RootPassword,
		"overlays/containers/kustomization.yaml": o.Kustomization,
	}
	top := "overlays/containers"
	if o.Above != "" {
		top = "overlays/above"
		files[top+"/kustomization.yaml"] = o.Above
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(dir, top))
	if err != nil {
		return nil, fmt.Errorf("build the overlay: %w", err)
	}
	text, err := built.AsYaml()
	if err != nil {
		return nil, err
	}
	return decode(text)
}

func copyFolders(to string, from fs.FS, folders ...string) error {
	for _, folder := range folders {
		part, err := fs.Sub(from, folder)
		if err == nil {
			err = os.CopyFS(filepath.Join(to, folder), part)
		}
		if err != nil {
			return fmt.Errorf("copy examples/kubernetes/%s: %w", folder, err)
		}
	}
	return nil
}

// decoder refuses unknown and repeated fields, as `kubectl apply --validate=strict` does.
var decoder = func() apiruntime.Decoder {
	scheme := apiruntime.NewScheme()
	for _, add := range []func(*apiruntime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err) // the types were not made for each other
		}
	}
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
}()

func decode(text []byte) (*Manifest, error) {
	m := &Manifest{
		Secrets: map[string]*corev1.Secret{}, ConfigMaps: map[string]*corev1.ConfigMap{}, CronJobs: map[string]*batchv1.CronJob{},
	}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, document)
		}
		switch object := object.(type) {
		case *appsv1.StatefulSet:
			m.Set = object
		case *corev1.Service:
			m.Services = append(m.Services, object)
		case *corev1.Secret:
			m.Secrets[object.Name] = object
		case *corev1.ConfigMap:
			m.ConfigMaps[object.Name] = object
		case *batchv1.CronJob:
			m.CronJobs[object.Name] = object
		}
	}
	if m.Set == nil {
		return nil, errors.New("the manifest has no StatefulSet")
	}
	return m, nil
}

// headless returns the set's governing Service.
func (m *Manifest) headless() (*corev1.Service, error) {
	for _, s := range m.Services {
		if s.Name != m.Set.Spec.ServiceName {
			continue
		}
		if s.Spec.ClusterIP != corev1.ClusterIPNone || !s.Spec.PublishNotReadyAddresses {
			return nil, fmt.Errorf("Service %s is not headless, or does not publish Pods that are not ready", s.Name)
		}
		return s, nil
	}
	return nil, fmt.Errorf("there is no Service %q", m.Set.Spec.ServiceName)
}

// named returns the port of a name, of whichever of a Pod's containers has it.
func named(pod corev1.PodSpec, name string) (port int32, err error) {
	for _, c := range append(append([]corev1.Container{}, pod.InitContainers...), pod.Containers...) {
		for _, p := range c.Ports {
			if p.Name == name {
				return p.ContainerPort, nil
			}
		}
	}
	return 0, fmt.Errorf("no port is named %q", name)
}
