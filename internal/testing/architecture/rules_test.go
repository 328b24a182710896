package architecture

// mayImport says which packages of this module the product code of a package may import. Imports point down only:
// no entry names a package that stands above it. A package missing here is an error: decide where it belongs first.
//
// Tests of a package may import every package that does not stand above it, and everything below internal/testing.
var mayImport = map[string][]string{
	"cmd/agent": {"agent", "doctor", "backup/*", "backup", "clone", "clone/protocol", "stream", "mysqlx", "internal/*"},
	// stream: clone's errors and stages have its types; livefiles: what the donor has to know of its server's files
	"agent":                  {"backup", "backup/archive", "backup/bootcheck", "backup/catalog", "backup/replay", "backup/store", "clone", "clone/livefiles", "stream", "mysqlx", "internal/*"},
	"doctor":                 {"agent", "backup/store", "mysqlx", "internal/*"}, // asks what the agent would, and changes nothing
	"backup":                 {"backup/store", "stream", "internal/*"},
	"backup/archive":         {"backup", "backup/store", "mysqlx", "internal/*"}, // segments are packed and sealed as a backup's are
	"backup/bootcheck":       {"mysqlx", "internal/*"},
	"backup/catalog":         {"backup", "backup/bootcheck", "backup/store", "mysqlx", "internal/*"}, // what a check has found is kept beside the backup
	"backup/find":            {"internal/binlog", "mysqlx"},
	"backup/replay":          {"mysqlx", "internal/*"}, // an archive is whatever gives it segments
	"backup/store":           {},
	"backup/store/dirstore":  {"backup/store", "internal/atomicfile"},
	"backup/store/s3store":   {"backup/store"},
	"backup/store/memstore":  {"backup/store"},
	"backup/store/storetest": {"backup/store"},
	"backup/store/location":  {"backup/store", "backup/store/dirstore", "backup/store/s3store"}, // the only place that knows which stores there are
	"clone":                  {"clone/livefiles", "clone/protocol", "stream", "mysqlx", "internal/*"},
	"clone/livefiles":        {"clone/protocol", "internal/arena", "internal/background"},
	"clone/protocol":         {"internal/background"},
	"stream":                 {},
	"mysqlx":                 {},
	"internal/arena":         {},
	"internal/atomicfile":    {},
	"internal/background":    {},
	"internal/binlog":        {"mysqlx"}, // binlogs speak of GTID sets
	"internal/innodb":        {},
	"internal/mysqld":        {"mysqlx"}, // a server is up when it answers
	"internal/coalesce":      {},
	"internal/pace":          {},
	"internal/pack":          {},
	"internal/plan":          {"internal/atomicfile"},
	"internal/progress":      {},
	"internal/trust":         {},
	"internal/volume":        {"internal/atomicfile", "internal/plan"},
}

// Programs and helpers for tests may use the whole product; nothing of the product may use them.
const testingTree = "internal/testing"

// libraries says which packages may import a module that is not ours. "*" is every package, "test" is every test and
// everything below internal/testing. A library missing here is an error: a dependency is a decision.
var libraries = map[string][]string{
	"github.com/go-sql-driver/mysql":        {"mysqlx"},
	"github.com/hashicorp/go-retryablehttp": {"clone", "agent"},
	"filippo.io/age":                        {"backup", "cmd/agent", "test"}, // encryption of backups
	"github.com/johannesboyne/gofakes3":     {"test"},                        // a real S3 server, over TLS
	"github.com/minio/minio-go":             {"backup/store/s3store"},
	"github.com/prometheus/client_golang":   {"agent"},
	"github.com/klauspost/compress":         {"backup", "internal/binlog", "internal/pack"},
	"lukechampine.com/blake3":               {"backup"},
	"github.com/spf13/cobra":                {"cmd/agent"},
	"github.com/spf13/pflag":                {"cmd/agent"},
	"go.uber.org/zap":                       {"agent", "clone", "cmd/agent", "test"}, // other libraries return errors and do not log
	"golang.org/x/sync":                     {"*"},
	"golang.org/x/sys":                      {"*"},
	"golang.org/x/term":                     {"internal/progress", "cmd/agent"},
	"github.com/google/go-cmp":              {"test"},
	"github.com/rogpeppe/go-internal":       {"test"},
	"go.uber.org/goleak":                    {"test"},
	"pgregory.net/rapid":                    {"test"},
}

// onlyInMain are the functions that make a package depend on how the process was started, or end it.
// They belong to cmd/agent, which hands values down.
var onlyInMain = map[string]string{
	"os.Getenv":     "take the value as an argument; cmd/agent reads the environment",
	"os.LookupEnv":  "take the value as an argument; cmd/agent reads the environment",
	"os.Environ":    "take the values as an argument; cmd/agent reads the environment",
	"os.ExpandEnv":  "take the value as an argument; cmd/agent reads the environment",
	"os.Args":       "take the values as an argument; cmd/agent reads the command line",
	"os.Exit":       "return an error; cmd/agent chooses the exit code",
	"log.Fatal":     "return an error; cmd/agent logs once and chooses the exit code",
	"log.Fatalf":    "return an error; cmd/agent logs once and chooses the exit code",
	"log.Fatalln":   "return an error; cmd/agent logs once and chooses the exit code",
	"flag.Parse":    "take the value as an argument; cmd/agent reads the command line",
	"signal.Notify": "take a context; cmd/agent listens to signals",
}

// maxLines is where a file starts to hide something; aim for 100–400.
const maxLines = 800

// oldWords match identifiers and strings that use a term neither MySQL nor this project uses any more. Comments are
// free: they cite the server's manual and its older versions.
var oldWords = []string{"master", "slave", "whitelist", "blacklist"}

// oldWordsBelongIn is the one package that must speak to servers from before the change of terms.
const oldWordsBelongIn = "mysqlx"

// allowedOldWords are names of the server that have no newer form on some supported version, by the word as it
// stands in the code.
var allowedOldWords = map[string]string{
	"loose_skip_slave_start":  "option in the generated config: skip_replica_start before 8.0.26",
	"loose_slave_net_timeout": "option in the generated config: replica_net_timeout before 8.0.26",
	"skip_slave_start":        "the same option as the server reports it",
	"slave_net_timeout":       "the same option as the server reports it",
	"slave_master_info":       "table of the server that holds a channel's credentials, on every version",
}

// needsNoComment are methods whose contract is that of a well-known interface.
var needsNoComment = map[string]bool{
	"As": true, "Error": true, "Format": true, "GoString": true, "Hint": true, "Is": true, "Len": true, "Less": true,
	"MarshalBinary": true, "MarshalJSON": true, "MarshalLogObject": true, "MarshalText": true, "String": true,
	"Swap": true, "UnmarshalBinary": true, "UnmarshalJSON": true, "UnmarshalText": true, "Unwrap": true,
}
