package debian

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestMirrors(t *testing.T) {
	ring := &fstest.MapFile{}
	for _, test := range []struct {
		name  string
		files map[string]string
		want  []mirror
	}{
		{"nothing", nil, nil},
		{"deb822", map[string]string{"sources.list.d/debian.sources": `
# comment
Types: deb
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /k.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
`}, []mirror{{"http://mirror.example/debian", "/k.gpg"}}},
		{"disabled, sources only, other archive", map[string]string{"sources.list.d/x.sources": `Types: deb
URIs: http://a.example/debian
Suites: sid
Components: main
Enabled: no

Types: deb-src
URIs: http://b.example/debian
Suites: sid
Components: main

Types: deb
URIs: http://other.example/ubuntu
Suites: noble
Components: main
`}, nil},
		{"one line", map[string]string{"sources.list": `
deb-src http://s.example/debian trixie main
# deb http://c.example/debian trixie main
deb [arch=amd64 signed-by=/l.gpg] https://l.example/pool/debian trixie main contrib
deb https://download.example/linux/debian trixie stable
deb file:/mnt/debian trixie main
`}, []mirror{{"https://l.example/pool/debian", "/l.gpg"}}},
		{"others last", map[string]string{
			"sources.list.d/a.list": "deb https://vendor.example trixie main",
			"sources.list.d/b.list": "deb http://m.example/debian trixie main",
		}, []mirror{{"http://m.example/debian", keyring1}, {"https://vendor.example", keyring1}}},
		{"key in the file", map[string]string{"sources.list.d/k.sources": "Types: deb\nURIs: http://k.example/debian\nSuites: sid\nComponents: main\nSigned-By:\n -----BEGIN\n .\n abc\n"},
			[]mirror{{"http://k.example/debian", "-----BEGIN\n .\n abc"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := fstest.MapFS{keyring1[1:]: ring}
			for name, text := range test.files {
				root["etc/apt/"+name] = &fstest.MapFile{Data: []byte(text)}
			}
			got := mirrors(root)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(mirror{})); diff != "" {
				t.Errorf("mirrors() (-want +got):\n%s", diff)
			}
		})
	}
}
