package validate

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Where the product is, seen from here.
const root = "../../.."

// targetLabels come from Prometheus itself, by the scrape configurations in this folder.
var targetLabels = []string{"instance", "job", "namespace", "pod"}

// notOurs are metrics of others that the files may use, with their own labels.
var notOurs = map[string][]string{
	"up": nil, // Prometheus: whether the last scrape worked

	// mysqld_exporter: itself, and its collectors global_status and global_variables
	"mysql_up":                                             nil,
	"mysql_global_status_threads_connected":                nil,
	"mysql_global_status_threads_running":                  nil,
	"mysql_global_status_queries":                          nil,
	"mysql_global_status_slow_queries":                     nil,
	"mysql_global_status_innodb_buffer_pool_reads":         nil,
	"mysql_global_status_innodb_buffer_pool_read_requests": nil,
	"mysql_global_variables_max_connections":               nil,
}

// metrics reads docs/metrics.md, which is written from the agent's registry and kept equal to it by TestMetricsAreDocumented: names, and the
// labels of each.
func metrics(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(ordinal_[a-z0-9_]+)` \\| (?:counter|gauge|histogram|summary) \\| ([^|]*) \\|").FindAllStringSubmatch(read(t, "docs/metrics.md"), -1) {
		found[m[1]] = []string{}
		for _, label := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(m[2], -1) {
			found[m[1]] = append(found[m[1]], label[1])
		}
	}
	if len(found) < 15 || !slices.Equal(found["ordinal_pod_reason"], []string{"code"}) || found["ordinal_pod_ready"] == nil {
		t.Fatalf("docs/metrics.md is not of the form that this test reads: %v", found)
	}
	return found
}

// values lists what a label can be, by the product's source and its generated documents; nil: anything.
func values(t *testing.T, label string) []string {
	t.Helper()
	constants := func(file, pattern string) (all []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(read(t, file), -1) {
			all = append(all, m[1])
		}
		if len(all) < 2 {
			t.Fatalf("%s has no values for the label %s where this test looks", file, label)
		}
		return all
	}
	states := func() []string { return constants("agent/status.go", `State\w+\s+State\s+=\s+"(\w+)"`) }
	switch label {
	case "code":
		reported, _, _ := strings.Cut(read(t, "docs/reason-codes.md"), "\n## ") // what follows is reserved, or a donor's answer
		var all []string
		for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(reported, -1) {
			if !slices.Contains(logged, m[1]) {
				all = append(all, m[1])
			}
		}
		if len(all) < 30 {
			t.Fatal("docs/reason-codes.md is not of the form that this test reads")
		}
		return all
	case "state":
		return states()
	case "reason": // why a donor refuses: its answers, or the state that it is in
		return slices.Concat(constants("clone/messages.go", `Reason\w+\s+=\s+"(\w+)"`), states())
	case "role":
		return constants("agent/identity.go", `Role\w+\s+Role\s+=\s+"(\w+)"`)
	case "result":
		return constants("agent/metrics.go", `result\w+\s+=\s+"(\w+)"`)
	case "side":
		return constants("agent/metrics.go", `side\w+\s+=\s+"(\w+)"`)
	}
	return nil
}

// logged are reason codes of what the agent puts right in the same turn in which it sees it: they are in its log, and hardly ever in the status, so
// no alert may wait for them.
var logged = []string{
	"bad_pages", "channel_elsewhere", "duplicate_server_uuid", "interrupted_first_start", "siblings_have_data", "super_read_only_reasserted", "volume_not_writable",
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
