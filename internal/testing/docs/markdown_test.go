package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// root is the repository, seen from here.
const root = "../../.."

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A section is a heading of a document with what follows up to the next heading of any level.
type section struct {
	title string // as written, without the "#"
	level int
	body  string
}

// sections splits a document; what stands in fences is no heading.
func sections(doc string) (all []section) {
	fenced := false
	for line := range strings.Lines(doc) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		title := strings.TrimLeft(line, "#")
		level := len(line) - len(title)
		if !fenced && level > 0 && strings.HasPrefix(title, " ") {
			all = append(all, section{title: strings.TrimSpace(title), level: level})
		} else if len(all) > 0 {
			all[len(all)-1].body += line
		}
	}
	return all
}

// anchors are those that GitHub gives a document's headings, and those set by hand.
func anchors(doc string) map[string]bool {
	all, seen := map[string]bool{}, map[string]int{}
	for _, s := range sections(doc) {
		slug := slugOf(s.title)
		if n := seen[slug]; n > 0 {
			all[fmt.Sprintf("%s-%d", slug, n)] = true
		}
		seen[slug]++
		all[slug] = true
	}
	for _, m := range regexp.MustCompile(`<a (?:id|name)="([^"]+)"`).FindAllStringSubmatch(doc, -1) {
		all[m[1]] = true
	}
	return all
}

var linked = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)

// slugOf makes an anchor of a heading: the text of links, lower case, letters, digits, "-" and "_", spaces as hyphens.
func slugOf(title string) string {
	title = linked.ReplaceAllString(title, "$1")
	return strings.Map(func(c rune) rune {
		switch {
		case unicode.IsLetter(c), unicode.IsDigit(c), c == '-', c == '_':
			return unicode.ToLower(c)
		case c == ' ':
			return '-'
		}
		return -1
	}, title)
}

func TestSlugs(t *testing.T) {
	for title, want := range map[string]string{
		"`binlogs_purged`":           "binlogs_purged",
		"Exit 65":                    "exit-65",
		"Rotate root's password":     "rotate-roots-password",
		"A [link](x.md), and *more*": "a-link-and-more",
		"0006: A silent sibling":     "0006-a-silent-sibling",
		"Who answers … and when?":    "who-answers--and-when",
	} {
		if got := slugOf(title); got != want {
			t.Errorf("slugOf(%q) = %q, want %q", title, got, want)
		}
	}
	doc := "# A\n```\n# no heading\n```\n## B\ntext\n## B\n<a id=\"c\"></a>\n"
	for anchor, want := range map[string]bool{"a": true, "b": true, "b-1": true, "c": true, "no-heading": false} {
		if anchors(doc)[anchor] != want {
			t.Errorf("anchors(): %s is there: %v, want %v", anchor, !want, want)
		}
	}
}
