package main

import (
	"strings"
	"testing"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

func TestTmpKill(t *testing.T) {
	replica := mysqltest.Start(t, mysqltest.Options{Config: map[string]string{"gtid_mode": "ON", "enforce_gtid_consistency": "ON", "server_id": "2"}})
	replica.Exec(t, "CREATE USER a@localhost IDENTIFIED BY 'a'")
	replica.Exec(t, "GRANT BACKUP_ADMIN, CONNECTION_ADMIN, PROCESS, RELOAD, REPLICATION CLIENT, REPLICATION_SLAVE_ADMIN, SHOW VIEW, SHUTDOWN, SYSTEM_VARIABLES_ADMIN ON *.* TO a@localhost")
	replica.Exec(t, "GRANT SELECT ON performance_schema.threads TO a@localhost")
	replica.Exec(t, "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=1, SOURCE_USER='x', SOURCE_AUTO_POSITION=1")
	replica.Exec(t, "START REPLICA SQL_THREAD")
	ep := replica.Root()
	ep.Credentials = mysqlx.Credentials{User: "a", Password: mysqlx.FixedPassword("a")}
	db, err := mysqlx.Open(ep)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(t.Context(), "SELECT NAME, PROCESSLIST_ID, PROCESSLIST_STATE FROM performance_schema.threads WHERE NAME LIKE '%replica%'")
	t.Log(rows, err)
	for _, r := range rows {
		if strings.Contains(r[0], "worker") {
			t.Log(r, db.Exec(t.Context(), "KILL QUERY "+r[1]))
			t.Log("root", replica.DB().Exec(t.Context(), "KILL QUERY "+r[1]))
			break
		}
	}
}
