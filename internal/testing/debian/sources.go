package debian

import (
	"cmp"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const (
	keyring1 = "/usr/share/keyrings/debian-archive-keyring.gpg"
	keyring2 = "/usr/share/keyrings/debian-archive-keyring.pgp" // its name from Debian 13 on
)

// mirror is where Debian packages come from, and the key that signs them.
type mirror struct {
	uri      string
	signedBy string // as in a .sources file: a path, or a key whose further lines begin with a space; "" for the machine's trusted keys
}

// deb822 returns the text of a .sources file. See sources.list(5).
func (m mirror) deb822(suite string) string {
	text := "Types: deb\nURIs: " + m.uri + "\nSuites: " + suite + "\nComponents: main\n"
	if strings.Contains(m.signedBy, "\n") {
		text += "Signed-By:\n " + m.signedBy + "\n" // a key begins in a line of its own
	} else if m.signedBy != "" {
		text += "Signed-By: " + m.signedBy + "\n"
	}
	return text
}

// mirrors returns the mirrors that the machine itself uses for Debian's own archive. root is the machine's root file system.
func mirrors(root fs.FS) []mirror {
	var found []mirror
	add := func(uri, signedBy string, suites, components []string) {
		isDebian := slices.ContainsFunc(suites, func(s string) bool { return slices.Contains(archiveSuites, s) })
		if !isDebian || !slices.Contains(components, "main") {
			return
		}
		if !strings.HasPrefix(uri, "http://") && !strings.HasPrefix(uri, "https://") {
			return
		}
		if signedBy == "" {
			signedBy = keyring(root)
		}
		m := mirror{strings.TrimSuffix(uri, "/"), signedBy}
		if !slices.ContainsFunc(found, func(o mirror) bool { return o.uri == m.uri }) {
			found = append(found, m)
		}
	}
	lists, _ := fs.Glob(root, "etc/apt/sources.list.d/*")
	for _, name := range append([]string{"etc/apt/sources.list"}, lists...) {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			continue
		}
		switch path.Ext(name) {
		case ".sources":
			parseSources(string(text), add)
		case ".list":
			parseList(string(text), add)
		}
	}
	// Others' archives use Debian's suite names too. Debian's own is at …/debian nearly everywhere.
	rank := func(m mirror) int {
		if path.Base(m.uri) == "debian" {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(found, func(a, b mirror) int { return cmp.Compare(rank(a), rank(b)) })
	return found
}

// archiveSuites tells Debian's own archive from others: only it has suites of these names. Security updates have another suite name.
var archiveSuites = []string{"sid", "unstable", "testing", "stable", "oldstable", "bullseye", "bookworm", "trixie", "forky", "duke"}

func keyring(root fs.FS) string {
	for _, name := range []string{keyring1, keyring2} {
		if _, err := fs.Stat(root, name[1:]); err == nil {
			return name
		}
	}
	return ""
}

// parseSources reads a deb822 file: paragraphs of fields, whose values go on in lines that begin with white space.
func parseSources(text string, add func(uri, signedBy string, suites, components []string)) {
	fields := make(map[string]string)
	flush := func() {
		if fields["enabled"] != "no" && slices.Contains(strings.Fields(fields["types"]), "deb") {
			for _, uri := range strings.Fields(fields["uris"]) {
				add(uri, strings.TrimSpace(fields["signed-by"]), strings.Fields(fields["suites"]), strings.Fields(fields["components"]))
			}
		}
		clear(fields)
	}
	key := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		switch {
		case strings.HasPrefix(line, "#"):
		case line == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			fields[key] += "\n" + line
		default:
			name, value, _ := strings.Cut(line, ":")
			key = strings.ToLower(strings.TrimSpace(name))
			fields[key] = strings.TrimSpace(value)
		}
	}
	flush()
}

// parseList reads the one-line format: deb [option=value …] uri suite component….
func parseList(text string, add func(uri, signedBy string, suites, components []string)) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		rest = strings.TrimSpace(rest)
		signedBy := ""
		if options, after, ok := strings.Cut(rest, "]"); ok && strings.HasPrefix(options, "[") {
			rest = after
			for _, option := range strings.Fields(options[1:]) {
				if value, ok := strings.CutPrefix(option, "signed-by="); ok {
					signedBy = value
				}
			}
		}
		if f := strings.Fields(rest); len(f) > 2 {
			add(f[0], signedBy, f[1:2], f[2:])
		}
	}
}
