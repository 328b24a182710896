package main

import (
	"bytes"
	"fmt"
	"os"
)

// Marks of the part of a document that is made by this program.
const (
	beginResults = "<!-- results: written by make bench DOCS=1, edits are lost -->\n"
	endResults   = "<!-- end of results -->\n"
)

// withResults returns a document with the text between the marks replaced.
func withResults(path, text string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	before, rest, ok := bytes.Cut(content, []byte(beginResults))
	_, after, ended := bytes.Cut(rest, []byte(endResults))
	if !ok || !ended {
		return nil, fmt.Errorf("%s: want the lines %q and %q, the results go between them", path, beginResults, endResults)
	}
	return fmt.Appendf(nil, "%s%s\n%s\n%s%s", before, beginResults, text, endResults, after), nil
}
