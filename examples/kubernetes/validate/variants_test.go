package validate

import (
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// A variant is one way to run the set.
type variant struct {
	name  string
	plain bool // the agent is an ordinary container
	load  func() (*objects, error)
}

// overlays are the folders that people apply, and what they make of the components.
var overlays = []variant{
	kustomized("kubernetes", false),
	kustomized("kubernetes/overlays/dev", false),
	kustomized("kubernetes/overlays/production", false),
	kustomized("kubernetes/overlays/restore", false),
	kustomized("kubernetes/overlays/workshop", false),
	kustomized("kubernetes/overlays/plain", true),
	kustomized("kubernetes/overlays/plain-production", true),
	kustomized("kubernetes/overlays/plain-workshop", true),
	kustomized("kubernetes/overlays/dev-emptydir", false),
	kustomized("eks-catalog/after", false),
	kustomized("eks-catalog/after-ebs", false),
}

// variants are all ways to run the set that this project offers.
func variants() []variant { return slices.Concat(overlays, charts) }

// kustomized is a folder below examples, built once.
func kustomized(dir string, plain bool) variant {
	return variant{name: dir, plain: plain, load: sync.OnceValues(func() (*objects, error) {
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(examples, dir))
		if err != nil {
			return nil, err
		}
		text, err := built.AsYaml()
		if err != nil {
			return nil, err
		}
		return decode(text)
	})}
}

// each runs check on every variant.
func each(t *testing.T, all []variant, check func(t *testing.T, v variant, o *objects)) {
	t.Helper()
	for _, v := range all {
		t.Run(v.name, func(t *testing.T) {
			o, err := v.load()
			if err != nil {
				t.Fatal(err)
			}
			if o.set == nil {
				t.Fatal("there is no StatefulSet")
			}
			check(t, v, o)
		})
	}
}

// find returns what one folder makes.
func find(t *testing.T, name string) *objects {
	t.Helper()
	all := variants()
	i := slices.IndexFunc(all, func(v variant) bool { return v.name == name })
	if i < 0 {
		t.Fatalf("no variant %q", name)
	}
	o, err := all[i].load()
	if err != nil {
		t.Fatal(err)
	}
	return o
}
