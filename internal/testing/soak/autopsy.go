package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// questions are what one wants to know of a server that does not get on, while it still can be asked.
var questions = []string{
	"SELECT ID, USER, HOST, COMMAND, TIME, STATE, LEFT(INFO, 200) FROM performance_schema.processlist",
	"SELECT THREAD_ID, NAME, PROCESSLIST_ID, PROCESSLIST_COMMAND, PROCESSLIST_TIME, PROCESSLIST_STATE, LEFT(PROCESSLIST_INFO, 200)" +
		" FROM performance_schema.threads WHERE PROCESSLIST_STATE IS NOT NULL",
	"SELECT * FROM performance_schema.replication_connection_status",
	"SELECT * FROM performance_schema.replication_applier_status_by_coordinator",
	"SELECT * FROM performance_schema.replication_applier_status_by_worker",
	"SELECT * FROM performance_schema.metadata_locks WHERE OBJECT_SCHEMA IS NULL OR OBJECT_SCHEMA <> 'performance_schema'",
	"SELECT * FROM information_schema.INNODB_TRX",
	"SELECT * FROM performance_schema.global_status WHERE VARIABLE_NAME LIKE 'Rpl_semi%' OR VARIABLE_NAME = 'Uptime'",
	"SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged, @@GLOBAL.super_read_only, @@GLOBAL.offline_mode, @@server_uuid",
	"SHOW BINARY LOGS",
	"SHOW ENGINE INNODB STATUS",
}

// autopsyAfter is how long the set may take to get whole, with nothing going wrong, before it is looked into.
const autopsyAfter = time.Minute

// autopsy writes down how the Pods are, one file for each.
func (s *soak) autopsy() {
	at := int(time.Since(s.began).Seconds())
	s.out.line("", "how the pods are at this moment is written to %s/autopsy-*", s.dir)
	for ordinal := range s.options.pods {
		var b strings.Builder
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		st, err := s.set.Status(ctx, ordinal)
		fmt.Fprintf(&b, "%v\nruns: %v\nstatus: %+v %v\n", time.Now().UTC(), s.set.Running(ordinal), st, err)
		for _, question := range questions {
			fmt.Fprintf(&b, "\n--- %s\n", question)
			asking, giveUp := context.WithTimeout(ctx, 5*time.Second)
			rows, err := s.set.Query(asking, ordinal, question)
			giveUp()
			if err != nil {
				fmt.Fprintln(&b, err)
			}
			for _, row := range rows {
				fmt.Fprintln(&b, strings.Join(row, " | "))
			}
		}
		cancel()
		path := filepath.Join(s.dir, fmt.Sprintf("autopsy-%d-%d.txt", at, ordinal))
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			s.out.line("", "%v", err)
		}
	}
}
