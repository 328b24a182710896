package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
	"ordinal/mysqlx"
)

// TestInterruptedFirstInitialisation: the image's first initialisation is killed, early or late; what serves in the end is whole: root
// has its password and the database is there. The image itself would go on with whatever was left, and look healthy.
func TestInterruptedFirstInitialisation(t *testing.T) {
	for name, reached := range map[string]func(ctx context.Context, s *localset.Set) bool{
		"while the data directory is made": func(_ context.Context, s *localset.Set) bool {
			_, err := os.Stat(filepath.Join(s.Pod(0).Volume, "current", "mysql"))
			return err == nil
		},
		"after root's password was set": func(ctx context.Context, s *localset.Set) bool {
			db, err := mysqlx.Open(mysqlx.Endpoint{Address: s.Pod(0).Socket, Credentials: s.RootEndpoint(0).Credentials})
			if err != nil {
				return false
			}
			defer db.Close()
			facts, err := db.Facts(ctx)
			return err == nil && facts.SkipNetworking
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := withDeadline(t, 4*time.Minute)
			// The script makes the moment long enough to be seen.
			s := localset.ForTest(t, localset.Options{Replicas: 1, Database: "shop", InitSQL: "DO SLEEP(1);\n"})
			waitFor(ctx, t, "the moment", func() bool { return reached(ctx, s) })
			for !s.Kill9(0, localset.Mysqld) {
				must(t, ctx.Err())
			}
			must(t, s.WaitReady(ctx))
			must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)")) // as root, with its password, in its database
			kept, err := filepath.Glob(filepath.Join(s.Pod(0).Volume, "quarantine", "*-interrupted_first_start", "reason.json"))
			if err != nil || len(kept) == 0 {
				t.Errorf("nothing in quarantine (%v)", err)
			}
		})
	}
}
