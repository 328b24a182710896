// Package validate checks that the manifests, what kustomize and Helm make of them, and the examples beside them are what
// Kubernetes would accept, and that what the agent relies on is in them. It is a module of its own: the product does not depend
// on Kubernetes' libraries.
package validate

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// What stands in for a user's secrets. Whatever is rendered may have them in a Secret, and nowhere else.
const (
	plantedSecret   = "planted-cluster-secret-of-more-than-32-bytes"
	plantedPassword = "planted-root-password"
)

// examples is a copy of the folder examples as a user has it after the quick start: with secrets.
var examples string

var update = flag.Bool("update", false, "write what the tests derive: the agent's options in the chart's schema")

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if examples, err = os.MkdirTemp("", "examples"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(examples)
	if err := prepare(examples); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

func prepare(dir string) error {
	for _, part := range []string{"kubernetes", "eks-catalog", "helm"} {
		from := os.DirFS(filepath.Join("..", "..", part))
		err := fs.WalkDir(from, ".", func(name string, entry fs.DirEntry, err error) error {
			to := filepath.Join(dir, part, name)
			switch {
			case err != nil:
				return err
			case entry.IsDir() && name == "validate":
				return fs.SkipDir
			case entry.IsDir():
				return os.MkdirAll(to, 0o755)
			}
			text, err := fs.ReadFile(from, name)
			if err != nil {
				return err
			}
			return os.WriteFile(to, text, 0o644)
		})
		if err != nil {
			return err
		}
	}
	for _, secrets := range []string{"kubernetes/secrets", "eks-catalog/after/secrets"} {
		for file, value := range map[string]string{"cluster-secret": plantedSecret, "root-password": plantedPassword} {
			if err := os.WriteFile(filepath.Join(dir, secrets, file), []byte(value+"\n"), 0o600); err != nil {
				return err
			}
		}
	}
	return composed(dir)
}

// composed adds overlays that a user makes from the components that come along.
func composed(dir string) error {
	for name, text := range map[string]string{
		"plain":            "resources: [../../base, ../../secrets]\ncomponents: [../../components/plain-sidecar]\n",
		"plain-production": "resources: [../production]\ncomponents: [../../components/plain-sidecar]\n",
		"plain-workshop":   "resources: [../workshop]\ncomponents: [../../components/plain-sidecar]\n",
		"dev-emptydir":     "resources: [../dev]\ncomponents: [../../components/emptydir]\n",
	} {
		overlay := filepath.Join(dir, "kubernetes/overlays", name)
		if err := os.MkdirAll(overlay, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
