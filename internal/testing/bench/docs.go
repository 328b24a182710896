package main

import (
	"bytes"
	"fmt"
	"os"
)

// marks are the lines around a part of a document that is made by this program.
type marks struct{ begin, end string }

// The parts: one may be measured without the other, which then stays as it is.
var (
	resultsMarks = marks{"<!-- results: written by make bench DOCS=1, edits are lost -->\n", "<!-- end of results -->\n"}
	backupsMarks = marks{"<!-- results of backups: written by make bench DOCS=1, edits are lost -->\n", "<!-- end of results of backups -->\n"}
)

// section is the text between two marks.
type section struct {
	marks
	text string
}

// withResults returns a document with the text of some sections replaced.
func withResults(path string, list ...section) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		before, rest, ok := bytes.Cut(content, []byte(s.begin))
		_, after, ended := bytes.Cut(rest, []byte(s.end))
		if !ok || !ended {
			return nil, fmt.Errorf("%s: want the lines %q and %q, the results go between them", path, s.begin, s.end)
		}
		content = fmt.Appendf(nil, "%s%s\n%s\n%s%s", before, s.begin, s.text, s.end, after)
	}
	return content, nil
}
