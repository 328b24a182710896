package compose

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/images"
)

// TestCompose goes through the example's README: from nothing to a set, a backup, volumes that are lost, the end and a new beginning. One set for
// all of it, because each takes half a minute.
func TestCompose(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute) // two minutes, unless the machine has other work
	defer cancel()
	p := newProject(ctx, t, "ordinal-compose")
	began := time.Now()
	passed := func(what string) { t.Logf("%5.1f s  %s", time.Since(began).Seconds(), what) }

	p.must("up", "--detach")
	p.waitReady()
	passed("assembled from nothing")

	p.upOnly("")
	p.waitReady()
	for ordinal := range 3 {
		if said := p.logs(fmt.Sprintf("mysql-%d-init", ordinal)); !strings.Contains(said, "an agent has this volume") {
			t.Errorf("init of pod %d did not see that it is served:\n%s", ordinal, said)
		}
	}
	passed("`up` again, and nothing happened")

	mustRun := func(ordinal int, statements string) {
		t.Helper()
		_, err := p.sql(ordinal, statements)
		must(t, err)
	}
	const count = "SELECT COUNT(*) FROM orders"
	mustRun(0, "CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, what VARCHAR(20)); INSERT INTO orders (what) VALUES ('tea'), ('milk')")
	p.waitRow(1, count, "2")
	p.waitRow(2, count, "2")
	if out, err := p.sql(2, "DELETE FROM orders"); err == nil || !strings.Contains(err.Error(), "super-read-only") {
		t.Errorf("a replica took a write: %s, %v", out, err)
	}
	passed("rows replicated, replicas read-only")

	p.backUp()
	passed("backed up and listed")

	p.replaceVolume(2)
	p.waitReady()
	p.waitRow(2, count, "2")
	if said := p.logs("mysql-2-init"); !strings.Contains(said, `"cloned"`) || !strings.Contains(said, `"donor":"mysql-1"`) {
		t.Errorf("mysql-2 was not cloned from mysql-1:\n%s", said)
	}
	passed("a replica without its volume was cloned")

	p.replaceVolume(0)
	p.waitReady()
	p.waitRow(0, count, "2")
	if said := p.logs("mysql-0-init"); !strings.Contains(said, "siblings_have_data") {
		t.Errorf("mysql-0 did not take its data from a sibling:\n%s", said)
	}
	mustRun(0, "INSERT INTO orders (what) VALUES ('bread')")
	p.waitRow(2, count, "3")
	passed("a source without its volume has its data back, and goes on")

	p.must("down")
	p.must("up", "--detach")
	p.waitReady()
	for ordinal := range 3 {
		p.waitRow(ordinal, count, "3")
	}
	mustRun(0, "INSERT INTO orders (what) VALUES ('salt')")
	p.waitRow(1, count, "4")
	passed("down and up, nothing lost")
}

// TestComposeWithMinIO brings up both files, with a stand-in for MinIO: all data volumes are lost, and come back out of the store.
func TestComposeWithMinIO(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	p := newProject(ctx, t, "ordinal-compose-minio", "compose.yaml", "compose.minio.yaml")
	p.healthy = 7
	minio, err := images.MinIO(ctx)
	must(t, err)
	p.env = append(p.env, "MINIO_IMAGE="+minio)
	user, password := "user"+rand.Text(), rand.Text()
	p.secret("minio-user", user)
	p.secret("minio-password", password)
	p.secret("s3-credentials", "[default]\naws_access_key_id = "+user+"\naws_secret_access_key = "+password)

	p.must("up", "--detach")
	p.waitReady()
	p.upOnly("")
	_, err = p.sql(0, "CREATE TABLE orders (id INT PRIMARY KEY); INSERT INTO orders VALUES (1)")
	must(t, err)
	p.backUp()
	_, err = p.sql(0, "INSERT INTO orders VALUES (2)")
	must(t, err)
	p.waitArchived()
	for ordinal := range 3 {
		p.stop(ordinal)
	}
	for ordinal := range 3 {
		p.removeVolume(ordinal)
	}
	p.must("up", "--detach")
	p.waitReady()
	for ordinal := range 3 {
		p.waitRow(ordinal, "SELECT COUNT(*) FROM orders", "2")
	}
}

// backUp makes a backup, of a replica, and finds it in the list.
func (p *project) backUp() {
	p.t.Helper()
	var backup struct {
		ID    string
		Donor string
	}
	must(p.t, json.Unmarshal([]byte(lastLine(p.must("run", "--rm", "-T", "backup"))), &backup))
	listed, err := p.agent(0, "backups", "list")
	must(p.t, err)
	if backup.ID == "" || backup.Donor == "mysql-0" || !strings.Contains(listed, backup.ID) {
		p.t.Errorf("backed up %+v; listed:\n%s", backup, listed)
	}
}

func lastLine(text string) string {
	return text[strings.LastIndex(text, "\n")+1:]
}
