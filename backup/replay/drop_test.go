package replay_test

import (
	"os"
	"testing"
	"time"

	"ordinal/backup/find"
	"ordinal/backup/replay"
	"ordinal/internal/testing/mysqltest"
)

// TestDroppedTable is what all this is for: somebody drops a table under load. The drop is found, and the data comes back as it was just before: every
// earlier row, no later one.
func TestDroppedTable(t *testing.T) {
	t.Parallel()
	source := mysqltest.Start(t, mysqltest.Options{Config: serverConfig})
	stop := startLoad(t, source, 4)
	waitRows(t, source, 400)
	script(t, source, `CREATE DATABASE other; CREATE TABLE other.orders (i INT PRIMARY KEY); DROP TABLE other.orders;
		CREATE TABLE other.kept LIKE shop.orders;
		LOCK TABLES shop.orders WRITE, other.kept WRITE; INSERT INTO other.kept SELECT * FROM shop.orders; DROP TABLE shop.orders; UNLOCK TABLES;`)
	kept := source.QueryString(t, "SELECT COUNT(*) FROM other.kept")
	source.Exec(t, "INSERT INTO other.kept (id, writer, n) VALUES (1000000, 1, 1)")
	stop()
	archive := archiveOf(t, source.DataDir, 100)

	// Found in the server's binlogs while it runs, and in the archive.
	dir, err := os.OpenRoot(source.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	table, err := find.ParseTable("shop.orders")
	if err != nil {
		t.Fatal(err)
	}
	q := find.Query{Tables: []find.Table{table}, Types: []find.Type{find.TypeDrop}}
	var drops []find.Found
	for f, err := range q.Transactions(t.Context(), find.Directory(dir, "binlog")) {
		if err != nil {
			t.Fatal(err)
		}
		drops = append(drops, f)
	}
	if len(drops) != 1 || drops[0].Unclear || len(drops[0].Statements) != 1 {
		t.Fatalf("found %+v", drops)
	}
	t.Logf("found %+v", drops[0])
	source.Stop(t)

	s := startRestored(t, nil)
	r := replayer(t, s)
	result, err := r.Run(t.Context(), archive, replay.Target{Before: gtids(t, drops[0].GTID)})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", result)
	if result.Executed.Contains(gtids(t, drops[0].GTID)) {
		t.Error("the drop was executed")
	}
	const differ = `SELECT COUNT(*) FROM shop.orders o LEFT JOIN other.kept k USING (id, writer, n, note) WHERE k.id IS NULL`
	if got := s.QueryString(t, "SELECT COUNT(*) FROM shop.orders"); got != kept || s.QueryString(t, differ) != "0" {
		t.Errorf("%s rows came back, want %s", got, kept)
	}
	if got := s.QueryString(t, "SELECT COUNT(*) FROM other.kept"); got != kept {
		t.Errorf("%s rows in the table that was written to later, want %s", got, kept)
	}
	// To a time it is the same, if the time is that of the last transaction before.
	if result.Last.Committed.IsZero() || result.Last.Committed.After(drops[0].Committed) || time.Since(result.Last.Committed) > time.Hour {
		t.Errorf("the last transaction is %v, the drop was committed %v", result.Last, drops[0].Committed)
	}
}
