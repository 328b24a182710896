package mysqlx_test

import (
	"context"
	"strconv"
	"testing"

	"ordinal/internal/testing/mysqltest"
)

// What the agent asks in every round must need no room on the volume: else it could not say that the volume is full, and a source that only waits for room
// would count as broken. The server makes temporary tables there for whatever has long texts, and counts them.
func testLooksOnAFullVolume(t *testing.T, s *mysqltest.Server) {
	db := open(t, agentAt(s.Address))
	tables := func() int {
		t.Helper()
		rows, err := db.Query(t.Context(), "SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Created_tmp_disk_tables'")
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(rows[0][0])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for name, look := range map[string]func(context.Context) error{
		"Facts":         func(ctx context.Context) error { _, err := db.Facts(ctx); return err },
		"ClusterID":     func(ctx context.Context) error { _, err := db.ClusterID(ctx); return err },
		"ReplicaStatus": func(ctx context.Context) error { _, err := db.ReplicaStatus(ctx); return err },
		"SemiSync":      func(ctx context.Context) error { _, err := db.SemiSync(ctx); return err },
		"UserTables":    func(ctx context.Context) error { _, err := db.UserTables(ctx); return err },
		"CopySize":      func(ctx context.Context) error { _, err := db.CopySize(ctx); return err },
		"Durability":    func(ctx context.Context) error { _, err := db.Durability(ctx); return err },
		"Overrides": func(ctx context.Context) error {
			_, err := db.Overrides(ctx, map[string]string{"read_only": "ON"})
			return err
		},
	} {
		before := tables()
		if err := look(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := tables() - before; n != 0 {
			t.Errorf("%s needs %d temporary tables on the volume", name, n)
		}
	}
}
