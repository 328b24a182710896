package mysqlx

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// An Override is a setting that another file, an option on mysqld's command line or a statement has changed.
type Override struct {
	Name string // as the server spells it
	Want string
	Have string // what the server says
	// Source says what set it: COMPILED if nothing did, EXPLICIT, GLOBAL, SERVER, EXTRA or USER for an option file, COMMAND_LINE, PERSISTED,
	// DYNAMIC for SET GLOBAL. See refman/8.4 performance-schema-variables-info-table.
	Source string
	Path   string // of the option file; "" if it was none
	SetBy  string // user@host of a SET, if known
}

// String is for people: "sync_binlog is 0 instead of 1: set by EXPLICIT /etc/mysql/conf.d/zzz.cnf".
func (o Override) String() string {
	s := fmt.Sprintf("%s is %s instead of %s: set by %s", o.Name, quoteEmpty(o.Have), quoteEmpty(o.Want), o.Source)
	for _, detail := range []string{o.Path, o.SetBy} {
		if detail != "" {
			s += " " + detail
		}
	}
	return s
}

func quoteEmpty(s string) string {
	if s == "" {
		return `""`
	}
	return s
}

// changedAtRunTime are settings that the agent changes while the server runs: their present value says nothing about a file.
var changedAtRunTime = map[string]bool{"read_only": true, "super_read_only": true, "offline_mode": true}

// Overrides returns which of the settings in want the server has another value of, in order. want is what an option file says: names with
// "-" or "_", with or without "loose_"; a name that the server does not know is left out. What SET GLOBAL changed is an override too,
// unless the agent's account did it or the agent uses to do it, as super_read_only: for that, a file that says otherwise is found only
// until the first change.
func (db *DB) Overrides(ctx context.Context, want map[string]string) ([]Override, error) {
	wanted := make(map[string]string, len(want))
	for name, value := range want {
		name = strings.ReplaceAll(name, "-", "_")
		wanted[strings.TrimPrefix(name, "loose_")] = value
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	names := slices.Sorted(maps.Keys(wanted))
	args := make([]any, 0, len(names))
	for _, name := range names {
		args = append(args, name)
	}
	rows, err := db.Query(ctx, `SELECT i.VARIABLE_NAME, IF(i.VARIABLE_NAME = 'log_bin' AND g.VARIABLE_VALUE = 'ON', @@GLOBAL.log_bin_basename, g.VARIABLE_VALUE),
		i.VARIABLE_SOURCE, COALESCE(i.VARIABLE_PATH, ''), COALESCE(i.SET_USER, ''), COALESCE(i.SET_HOST, '')
		FROM performance_schema.variables_info i JOIN performance_schema.global_variables g ON g.VARIABLE_NAME = i.VARIABLE_NAME
		WHERE i.VARIABLE_NAME IN (?`+strings.Repeat(", ?", len(names)-1)+`) ORDER BY i.VARIABLE_NAME`, args...)
	if err != nil {
		return nil, fmt.Errorf("read where settings come from: %w", err)
	}
	var all []Override
	for _, r := range rows {
		o := Override{Name: r[0], Want: wanted[r[0]], Have: r[1], Source: r[2], Path: r[3]}
		ours := o.Source == "DYNAMIC" && (changedAtRunTime[o.Name] || r[4] == AgentAccount)
		if ours || sameSetting(o.Name, o.Want, o.Have) {
			continue
		}
		if r[4] != "" {
			o.SetBy = r[4] + "@" + r[5]
		}
		all = append(all, o)
	}
	return all, nil
}

// sameSetting compares what an option file says with what the server makes of it.
func sameSetting(name, want, have string) bool {
	if want == "" {
		want = "ON" // an option without a value
	}
	switch name {
	case "log_bin", "relay_log": // given without a directory they are in the data directory
		if !strings.Contains(want, "/") {
			have = path.Base(have)
		}
	case "datadir":
		want, have = path.Clean(want), path.Clean(have)
	}
	return want == have || switchValue(want) == switchValue(have)
}

// switchValue gives the words for on and off one spelling.
func switchValue(s string) string {
	switch strings.ToUpper(s) {
	case "1", "ON", "TRUE", "YES":
		return "ON"
	case "0", "OFF", "FALSE", "NO":
		return "OFF"
	}
	return s
}
