package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestByteSize(t *testing.T) {
	for text, want := range map[string]byteSize{"300MB": 300e6, "2gb": 2e9, "1.5 GB": 15e8, "1000": 1000, "0": 0} {
		var got byteSize
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("Set(%q) = %d, %v; want %d", text, got, err, want)
		}
		var again byteSize
		if err := again.Set(got.String()); err != nil || again != got {
			t.Errorf("Set(%q) = %d, %v; want %d", got.String(), again, err, got)
		}
	}
	for _, text := range []string{"", "-1MB", "many", "1e300GB", "NaN"} {
		var got byteSize
		if err := got.Set(text); err == nil {
			t.Errorf("Set(%q) = %d, want an error", text, got)
		}
	}
}

func TestParse(t *testing.T) {
	o, ok := parse([]string{"-quick", "-rounds", "5", "-dirs", "/srv, mem", "-way", "two: --clone-streams=2 --copy=direct", "-way", "as it is:",
		"-memory", "8GB,300MB"}, t.Output())
	if !ok {
		t.Fatal("parse() refused")
	}
	switch {
	case o.rounds != 5 || o.size != 200e6 || o.window != 5*time.Second || o.tables != 300 || o.transactions != 2000:
		t.Errorf("-quick -rounds 5: rounds %d, size %d, window %v, tables %d", o.rounds, o.size, o.window, o.tables)
	case !slices.Equal(o.dirs, list{"/srv", "mem"}) || !slices.Equal(o.memory, sizes{300e6, 8e9}):
		t.Errorf("dirs %q, memory %d", o.dirs, o.memory)
	case len(o.ways) != 2 || o.ways[0].Name != "two" || !slices.Equal(o.ways[0].Args, []string{"--clone-streams=2", "--copy=direct"}) ||
		o.ways[1].Name != "as it is" || len(o.ways[1].Args) != 0:
		t.Errorf("ways %+v", o.ways)
	}
	if o, ok := parse(nil, t.Output()); !ok || o.size < aimedSize || o.tables != 20000 || !slices.Equal(o.memory, sizes{2e9, 8e9}) || len(o.ways) != 2 {
		t.Errorf("parse() without flags = %+v, %v; want what the aims are meant for", o, ok)
	}
	for _, args := range []string{"argument", "-size 1MB", "-rounds 0", "-dirs ,", "-phases all", "-way --copy=direct", "-way x:copy", "-window 0s", "-json -markdown",
		"-memory ,", "-transactions 0"} {
		var said bytes.Buffer
		if _, ok := parse(strings.Fields(args), &said); ok || said.Len() == 0 {
			t.Errorf("parse(%q) = %v and says %q; want to be refused with a reason", args, ok, said.String())
		}
	}
}

// The flags of a way stay its own when another is made of it.
func TestWith(t *testing.T) {
	w := way{"direct", []string{"--copy=direct"}}
	slow, slower := w.with("slow", "--max-rate=2"), w.with("slower", "--max-rate=1")
	if slow.Args[1] != "--max-rate=2" || slower.Args[1] != "--max-rate=1" || len(w.Args) != 1 {
		t.Errorf("with() = %v, %v of %v", slow, slower, w)
	}
}

func TestHasFlags(t *testing.T) {
	help := []byte("Flags:\n      --copy string   how\n      --clone-workers int   how many\n")
	for args, want := range map[string]bool{"": true, "--copy=direct": true, "--copy=direct --clone-workers=1": true, "--clone=1": false, "--max-rate=1": false} {
		if got := hasFlags(help, strings.Fields(args)); got != want {
			t.Errorf("hasFlags(%q) = %v, want %v", args, got, want)
		}
	}
}

func TestNeed(t *testing.T) {
	o := options{size: 2e9, memory: sizes{2e9, 8e9}, tables: 100_000}
	copies, memory, small := o.need(list{phaseCopies}), o.need(list{phaseCopies, phaseMemory}), o.need(list{phaseTables})
	if copies < 4e9 || memory < 16e9 || small < 20e9 {
		t.Errorf("need() = %d, %d, %d; want room for the data and a copy", copies, memory, small)
	}
	if kept := o.need(list{phaseBackups}); kept < 10e9 {
		t.Errorf("need() for backups = %d; want room for the data, a backup, a dump, a raw copy, and what is restored", kept)
	}
	dir := t.TempDir()
	if missing, err := room(dir, 1); missing != "" || err != nil {
		t.Errorf("room(1) = %q, %v", missing, err)
	}
	if missing, err := room(dir, 1<<62); missing == "" || err != nil {
		t.Errorf("room(4 EB) = %q, %v; want what is missing", missing, err)
	}
}
