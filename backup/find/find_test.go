package find_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ordinal/backup/find"
	"ordinal/internal/binlog"
	"ordinal/mysqlx"
)

// testdata are binlogs of a server, which the tests of internal/binlog have written.
const testdata = "../../internal/binlog/testdata/9.7.4"

func openRoot(t testing.TB, dir string) *os.Root {
	t.Helper()
	r, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// search returns the GTIDs that are found, without their server.
func search(t testing.TB, q find.Query, logs iter.Seq2[find.Log, error]) (gtids []string, all []find.Found) {
	t.Helper()
	for f, err := range q.Transactions(t.Context(), logs) {
		if err != nil {
			t.Fatal(err)
		}
		_, number, _ := strings.Cut(f.GTID, ":")
		gtids, all = append(gtids, number), append(all, f)
	}
	return gtids, all
}

func table(t testing.TB, text string) []find.Table {
	t.Helper()
	table, err := find.ParseTable(text)
	if err != nil {
		t.Fatal(err)
	}
	return []find.Table{table}
}

func TestFindInADirectory(t *testing.T) {
	dir := openRoot(t, testdata)
	everything, all := search(t, find.Query{}, find.Directory(dir, "binlog"))
	if len(all) < 25 {
		t.Fatalf("%d transactions in all", len(all))
	}
	for _, c := range []struct {
		table string
		types []find.Type
		want  string
	}{
		{"shop.copies", []find.Type{find.TypeDrop}, "heal:3"},
		{"shop.copies", []find.Type{find.TypeDDL}, "heal:2 heal:3 1"},
		{"SHOP.Copies", []find.Type{find.TypeInsert}, "heal:2"},
		{"shop.orders", []find.Type{find.TypeUpdate}, "4"},
		{"shop.orders", []find.Type{find.TypeDelete}, "6"},
		{"shop", []find.Type{find.TypeDrop}, "heal:3"},
		{"*.copies", []find.Type{find.TypeDrop}, "heal:3"},
		{"other.orders", nil, ""},
		{"shop.`odd  \"name`", []find.Type{find.TypeDML}, "23"},
	} {
		got, _ := search(t, find.Query{Tables: table(t, c.table), Types: c.types}, find.Directory(dir, "binlog"))
		want := strings.Fields(c.want)
		slices.Sort(want)
		slices.Sort(got)
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s %v: found %q, want %q", c.table, c.types, got, want)
		}
	}
	if got, _ := search(t, find.Query{Types: []find.Type{find.TypeAccount}}, find.Directory(dir, "binlog")); len(got) != 3 {
		t.Errorf("about accounts: %q", got)
	}

	// By time and by GTID.
	middle := all[len(all)/2].Committed
	early, _ := search(t, find.Query{Until: middle}, find.Directory(dir, "binlog"))
	late, _ := search(t, find.Query{Since: middle.Add(time.Microsecond)}, find.Directory(dir, "binlog"))
	if len(early)+len(late) != len(everything) || len(early) == 0 || len(late) == 0 {
		t.Errorf("%d until %v, %d later, %d in all", len(early), middle, len(late), len(everything))
	}
	set, err := mysqlx.ParseGTIDSet(all[3].GTID + "," + all[7].GTID)
	if err != nil {
		t.Fatal(err)
	}
	if _, got := search(t, find.Query{GTIDs: set}, find.Directory(dir, "binlog")); len(got) != 2 || got[0].GTID != all[3].GTID {
		t.Errorf("by GTID: %+v", got)
	}
	for _, f := range all {
		if text := fmt.Sprintf("%+v", f); strings.Contains(text, "Very-Secret") || strings.Contains(text, "$A$005$") {
			t.Errorf("a secret is shown: %s", text)
		}
	}
}

// TestFindInAnArchive: segments are passed over by their headers, one that is gone as well, and what two of them have is found once.
func TestFindInAnArchive(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testdata, "binlog.000002"))
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	log := func(name string, first, last time.Time) find.Log {
		return find.Log{Name: name, First: first, Last: last, Open: func(context.Context) (io.ReadCloser, error) {
			opened++
			if name == "gone" {
				return nil, fs.ErrNotExist
			}
			return io.NopCloser(bytes.NewReader(text)), nil
		}}
	}
	at := time.Now()
	logs := func(yield func(find.Log, error) bool) {
		_ = yield(log("early", at.Add(-2*time.Hour), at.Add(-time.Hour)), nil) && yield(log("gone", at, at), nil) &&
			yield(log("a", time.Time{}, time.Time{}), nil) && yield(log("b", time.Time{}, time.Time{}), nil) &&
			yield(log("late", at.Add(time.Hour), at.Add(2*time.Hour)), nil)
	}
	q := find.Query{Since: time.Unix(0, 0), Until: at}
	all, _ := search(t, q, logs)
	if opened != 4 {
		t.Errorf("%d logs were opened, want 4", opened)
	}
	opened = 0
	q.Since = at.Add(-time.Minute)
	if got, _ := search(t, q, logs); len(got) != 0 || opened != 3 {
		t.Errorf("found %q in %d logs", got, opened)
	}
	q.Since = time.Time{}
	n := 0
	for f, err := range find.Once(q.Transactions(t.Context(), logs)) {
		if err != nil || f.Log != "early" {
			t.Errorf("%+v, %v", f, err)
		}
		n++
	}
	if n == 0 || len(all) != 3*n {
		t.Errorf("%d found once, %d in all", n, len(all))
	}
}

func TestFindFails(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testdata, "binlog.000002"))
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the store is gone")
	in := func(b []byte, openErr, listErr error) error {
		logs := func(yield func(find.Log, error) bool) {
			yield(find.Log{Name: "b", Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), openErr }}, listErr)
		}
		for _, err := range (find.Query{}).Transactions(t.Context(), logs) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	var damage *binlog.DamageError
	if err := in(text[:len(text)/2], nil, nil); !errors.As(err, &damage) {
		t.Errorf("half a binlog: %v", err)
	}
	if err := in(nil, broken, nil); !errors.Is(err, broken) {
		t.Errorf("a log that cannot be opened: %v", err)
	}
	if err := in(nil, nil, broken); !errors.Is(err, broken) {
		t.Errorf("a list that cannot be read: %v", err)
	}
	if err := in([]byte("\xfdbin"+string(make([]byte, 100))), nil, nil); !errors.Is(err, binlog.ErrEncrypted) {
		t.Errorf("an encrypted binlog: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range (find.Query{}).Transactions(ctx, find.Directory(openRoot(t, testdata), "binlog")) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
	}
	for _, err := range (find.Query{}).Transactions(t.Context(), find.Directory(openRoot(t, t.TempDir()), "binlog")) {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a directory without binlogs: %v", err)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"shop.orders": "shop.orders", "shop": "shop.*", "shop.*": "shop.*", "*.orders": "*.orders", "`shop`.`or.d``ers`": "shop.`or.d``ers`", "`a.b`": "`a.b`.*",
		"": "", ".": "", "shop.": "", ".orders": "", "a.b.c": "", "`a": "", "`a`b": "", "``.a": "",
	} {
		got, err := find.ParseTable(text)
		if (err != nil) != (want == "") || err == nil && got.String() != want {
			t.Errorf("ParseTable(%q) = %v, %v, want %q", text, got, err, want)
		}
	}
	for _, typ := range find.Types() {
		if got, err := find.ParseType(" " + strings.ToUpper(string(typ))); got != typ || err != nil {
			t.Errorf("ParseType(%q) = %q, %v", typ, got, err)
		}
	}
	if _, err := find.ParseType("destroy"); err == nil || !strings.Contains(err.Error(), "truncate") {
		t.Errorf("ParseType() of nonsense: %v", err)
	}
}

func FuzzParseTable(f *testing.F) {
	f.Add("shop.orders")
	f.Add("`a``.b`.`c`")
	f.Fuzz(func(t *testing.T, text string) {
		one, err := find.ParseTable(text)
		if err != nil {
			return
		}
		again, err := find.ParseTable(one.String())
		if err != nil || again != one {
			t.Fatalf("%q is %+v, and its text %q is %+v, %v", text, one, one.String(), again, err)
		}
	})
}
