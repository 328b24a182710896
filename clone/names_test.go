package clone

import (
	"errors"
	"strings"
	"testing"
)

func TestTablespacePath(t *testing.T) {
	for name, want := range map[string]string{
		"./shop/orders.ibd":                     "shop/orders.ibd",
		"shop/orders.ibd":                       "shop/orders.ibd",
		"mysql.ibd":                             "mysql.ibd",
		"./general.ibd":                         "general.ibd",
		"./general with space.ibd":              "general with space.ibd",
		"ibdata1":                               "ibdata1",
		"ibdata2":                               "ibdata2",
		"undo_001":                              "undo_001",
		"./more_undo.ibu":                       "more_undo.ibu",
		"./shop/odd@002dname@002ex.ibd":         "shop/odd@002dname@002ex.ibd",
		"./shop/parts#p#p0#sp#p0sp1.ibd":        "shop/parts#p#p0#sp#p0sp1.ibd",
		"./shop/#sql-ib1063-1234.ibd":           "shop/#sql-ib1063-1234.ibd",
		"./shop/fts_0000000000000428_being.ibd": "shop/fts_0000000000000428_being.ibd",
		"./@540d@524d/t.ibd":                    "@540d@524d/t.ibd",
		"./clone/clone.ibd":                     "clone/clone.ibd",
		"./innodb_redo/t.ibd":                   "innodb_redo/t.ibd",
	} {
		if got, err := tablespacePath(name); got != want || err != nil {
			t.Errorf("tablespacePath(%q) = %q, %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{
		"", ".", "./", "/", "..", "./..", "../x.ibd", "./../x.ibd", "shop/../../x.ibd", "shop/../x.ibd", "./shop/./t.ibd", "shop//t.ibd",
		"/etc/passwd", "/var/lib/other/t.ibd", "//x.ibd", "./ /../../x.ibd", "shop/", "shop/t.ibd/", "././x.ibd",
		"a/b/c.ibd", strings.Repeat("a/", 600) + "x.ibd", strings.Repeat("n", 2000) + ".ibd",
		"x\x00.ibd", "shop\\t.ibd", "..\\x.ibd",
		"#clone/#status_in_progress", "#clone/x.ibd", "./#clone/t.ibd", "#innodb_redo/#ib_redo0", "#innodb_temp/temp_1.ibt", "./#innodb_redo/t.ibd",
		"#ib_16384_0.dblwr", "#ib_archive/x.ibd",
		".my.cnf", "./.ssh/authorized_keys", "./.hidden/t.ibd", ".ibd",
		"auto.cnf", "mysqld-auto.cnf", "my.cnf", "ca.pem", "server-key.pem", "plugin.so", "binlog.index", "shop/t.sdi", "shop/t.frm", "mysql/general_log.CSM",
		"shop/t", "mysql/user.MYD", "shop/lib.so",
	} {
		got, err := tablespacePath(name)
		var bad *NameError
		if !errors.As(err, &bad) || bad.Name != name || got != "" {
			t.Errorf("tablespacePath(%.60q) = %q, %v, want a NameError", name, got, err)
		}
	}
}
