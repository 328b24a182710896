package main

import (
	"crypto/sha256"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// What is measured of a process that ends is what it was seen with last.
func TestWatchToEnd(t *testing.T) {
	const mark = "a-mark-to-find-it-by"
	cmd := exec.Command("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done", mark)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
	got, err := watchToEnd(t.Context(), "-c", mark)
	if err != nil {
		t.Fatal(err)
	}
	if got.cpu < clockTick || got.cpu > time.Minute || got.hwm < 100<<10 || got.hwm > 100<<20 {
		t.Errorf("watchToEnd() = %+v, want some CPU and some memory", got)
	}
	if _, err := usageOf(os.Getpid()); err != nil {
		t.Error(err)
	}
}

// dataDir makes what looks like a data directory.
func dataDir(t *testing.T) string {
	dir := t.TempDir()
	random := rand.NewChaCha8([32]byte{1})
	for _, name := range []string{"ibdata1", "mysql.ibd", "undo_001", "ib_buffer_pool", "shop/orders.ibd", "shop/@0023odd#p#p0.ibd", "general.ibu",
		"ibtmp1", "binlog.000001", "auto.cnf", "#innodb_temp/temp_1.ibt", "#innodb_redo/#ib_redo1", "#ib_16384_0.dblwr"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		content := make([]byte, 100<<10)
		_, _ = random.Read(content)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTar(t *testing.T) {
	from, err := listFiles(dataDir(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"general.ibu", "ib_buffer_pool", "ibdata1", "mysql.ibd", "shop/@0023odd#p#p0.ibd", "shop/orders.ibd", "undo_001"}; !slices.Equal(from.names, want) ||
		from.bytes != int64(len(want))*100<<10 {
		t.Fatalf("listFiles() = %q, %d bytes; want %q", from.names, from.bytes, want)
	}
	if err := from.evict(); err != nil {
		t.Error(err)
	}
	s := &site{dir: t.TempDir(), files: from}
	run, err := s.copyByTar(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if run.Copy <= 0 || run.CPU.sum() <= 0 {
		t.Errorf("copyByTar() = %+v", run)
	}
	to, err := listFiles(s.byTar())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(to.names, from.names) {
		t.Fatalf("the copy has %q, want %q", to.names, from.names)
	}
	for _, name := range from.names {
		if checksum(t, filepath.Join(from.dir, name)) != checksum(t, filepath.Join(to.dir, name)) {
			t.Errorf("%s differs", name)
		}
	}
}

func checksum(t *testing.T, path string) [32]byte {
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(content)
}

// A copy that fails ends both programs and says why.
func TestTarFails(t *testing.T) {
	from, err := listFiles(dataDir(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := tarOverTCP(t.Context(), from, filepath.Join(from.dir, "not there")); err == nil {
		t.Error("tarOverTCP() to a folder that is not there = nil")
	}
	from.names = append(from.names, "not there")
	if _, _, err := tarOverTCP(t.Context(), from, t.TempDir()); err == nil {
		t.Error("tarOverTCP() of a file that is not there = nil")
	}
}

func TestRawWrite(t *testing.T) {
	s := &site{dir: t.TempDir(), files: files{bytes: 10<<20 + 1}}
	run, err := s.writeRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	err = filepath.WalkDir(s.raw(), func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		size += info.Size()
		return err
	})
	if err != nil || size != 11<<20 || run.Received != size || run.Copy <= 0 {
		t.Errorf("writeRaw() wrote %d bytes, %v, and says %+v", size, err, run)
	}
}

func TestCloned(t *testing.T) {
	log := []byte(`{"level":"info","msg":"cloning","donor":"bench-0"}
{"level":"info","msg":"cloned","took":"9s","bytes":1}
{"level":"info","msg":"cloned","donor":"bench-0","files":9,"bytes":2000,"resumes":1,"took":"1.5s"}
{"level":"info","msg":"done"}
`)
	var got copied
	if err := parseCloned(lastEntry(log, saysCloned), &got); err != nil || got != (copied{Copy: 1.5, Received: 2000, Resumes: 1}) {
		t.Errorf("parseCloned() = %+v, %v; want 1.5 s, 2000 bytes, 1 resume", got, err)
	}
	if got := lastEntry(log, "clone"); got != nil {
		t.Errorf("lastEntry() of a part of a message = %s", got)
	}
	for _, line := range []string{"", "{}", `{"took":"1s","bytes":0}`, `{"took":"soon","bytes":1}`} {
		if err := parseCloned([]byte(line), new(copied)); err == nil {
			t.Errorf("parseCloned(%q): no error", line)
		}
	}

	path := filepath.Join(t.TempDir(), "init.log")
	reader := newLogReader(path)
	if line, err := reader.entry(saysCloned); line != nil || err != nil {
		t.Errorf("entry() of no file = %s, %v", line, err)
	}
	if err := os.WriteFile(path, log, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := reader.cloned(new(copied)); err != nil {
		t.Error(err)
	}
	if err := newLogReader(path).cloned(new(copied)); err == nil {
		t.Error("cloned() sees what an earlier clone has logged")
	}
}
