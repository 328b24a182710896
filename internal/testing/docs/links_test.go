package docs

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLinks: every relative link of every document leads to a file or folder of the repository, and its anchor to a heading there.
func TestLinks(t *testing.T) {
	documents := map[string]*document{} // by path below root
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin"):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(name) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path)
		documents[name] = &document{text: string(text)}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(documents) < 20 {
		t.Fatalf("found %d documents: they are not where this test looks", len(documents))
	}
	for name := range documents {
		for _, wrong := range broken(name, documents) {
			t.Error(wrong)
		}
	}
}

// A document is a file with what is known of it.
type document struct {
	text    string
	anchors map[string]bool // nil: not looked at yet
}

// has reports whether a heading of the document has this anchor.
func (d *document) has(anchor string) bool {
	if d.anchors == nil {
		d.anchors = anchors(d.text)
	}
	return d.anchors[anchor]
}

var (
	fence  = regexp.MustCompile("(?ms)^\\s*```.*?^\\s*```")
	inline = regexp.MustCompile("`[^`\n]*`")
	link   = regexp.MustCompile(`\]\(([^()\s]+)(?: "[^"]*")?\)|<img [^>]*src="([^"]+)"`)
)

// broken lists the links of a document that lead nowhere.
func broken(name string, documents map[string]*document) (wrong []string) {
	text := inline.ReplaceAllString(fence.ReplaceAllString(documents[name].text, ""), "")
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		target := m[1] + m[2]
		u, err := url.Parse(target)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %s: %v", name, target, err))
			continue
		}
		if u.Scheme != "" {
			continue // elsewhere
		}
		file := name
		if u.Path != "" {
			file = filepath.Join(filepath.Dir(name), u.Path)
		}
		there, isDocument := documents[file]
		if _, err := os.Stat(filepath.Join(root, file)); err != nil && !isDocument {
			wrong = append(wrong, fmt.Sprintf("%s: %s: there is no %s", name, target, file))
			continue
		}
		if u.Fragment != "" && (!isDocument || !there.has(u.Fragment)) {
			wrong = append(wrong, fmt.Sprintf("%s: %s: %s has no such heading", name, target, file))
		}
	}
	return wrong
}

// TestBrokenNotices: a check that cannot fail protects nothing.
func TestBrokenNotices(t *testing.T) {
	documents := map[string]*document{
		"docs/b.md": {text: "# Here\n## And `there`\n"},
		"docs/a.md": {text: "[fine](b.md#and-there) [too](../docs/b.md) [self](#top) [out](https://example.org/x)\n# Top\n`[code](gone.md)`\n```\n[code](gone.md)\n```\n" +
			"[gone](gone.md) [no heading](b.md#nowhere) ![picture](picture.svg)\n"},
	}
	got := broken("docs/a.md", documents)
	want := []string{"docs/a.md: gone.md", "docs/a.md: b.md#nowhere", "docs/a.md: picture.svg"}
	if len(got) != len(want) || !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("broken() = %q, want %q", got, want)
	}
}

// TestFoldersAreThere: the table of docs/architecture.md names folders that exist, and leaves no package of the product out.
func TestFoldersAreThere(t *testing.T) {
	var table string
	for _, s := range sections(read(t, "docs/architecture.md")) {
		if s.title == "Folders" {
			table = s.body
		}
	}
	var named []string
	for row := range strings.Lines(table) {
		if cells := strings.Split(row, "|"); len(cells) > 2 {
			for _, m := range regexp.MustCompile("`([a-z/]+)`").FindAllStringSubmatch(cells[1]+cells[2], -1) {
				named = append(named, m[1])
			}
		}
	}
	if len(named) < 10 {
		t.Fatalf("docs/architecture.md names %q: its table is not of the form that this test reads", named)
	}
	for _, folder := range named {
		if info, err := os.Stat(filepath.Join(root, folder)); err != nil || !info.IsDir() {
			t.Errorf("docs/architecture.md names %s, which is no folder", folder)
		}
	}
	sources, err := filepath.Glob(filepath.Join(root, "*", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	inner, err := filepath.Glob(filepath.Join(root, "internal", "*", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(sources, inner...) {
		folder, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(named, folder) && !slices.Contains(named, filepath.Dir(folder)) {
			t.Errorf("docs/architecture.md does not name %s", folder)
		}
	}
}
