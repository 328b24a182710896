package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// A table is one part of the report. All rows have as many cells as the head.
type table struct {
	title string
	head  []string
	rows  [][]string
	notes []string // sentences below it
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// text aligns the columns: the first one to the left, numbers to the right.
func (t *table) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n\n", t.title)
	widest := 0
	lines := append([][]string{t.head}, t.rows...)
	for _, cells := range lines {
		widest = max(widest, len([]rune(cells[0])))
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, cells := range lines {
		fmt.Fprintf(w, "%-*s\t%s\t\n", widest, cells[0], strings.Join(cells[1:], "\t"))
	}
	_ = w.Flush() // to memory
	for _, note := range t.notes {
		fmt.Fprintf(&b, "%s\n", note)
	}
	return b.String()
}

func (t *table) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n", t.title)
	line := func(cells []string) {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	escaped := func(cells []string) []string {
		list := make([]string, len(cells))
		for i, cell := range cells {
			list[i] = strings.ReplaceAll(cell, "|", `\|`)
		}
		return list
	}
	line(escaped(t.head))
	rule := make([]string, len(t.head))
	for i := range rule {
		rule[i] = "--:"
	}
	rule[0] = "---"
	line(rule)
	for _, row := range t.rows {
		line(escaped(row))
	}
	for _, note := range t.notes {
		fmt.Fprintf(&b, "\n%s\n", note)
	}
	return b.String()
}
