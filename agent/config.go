package agent

import (
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"ordinal/clone"
	"ordinal/mysqlx"
)

// Bounds of the options. Validate enforces them and cmd/agent documents them.
const (
	MaxReplicas        = 1000
	MaxCloneWorkers    = 16 // the default of clone_max_concurrency, which bounds the server's own recipient
	MaxCloneStreams    = 16
	MinMaxRate         = 1_000_000 // bytes per second
	MaxLatencyLimit    = time.Minute
	MaxDonorPatience   = 24 * time.Hour
	MaxGatePatience    = 24 * time.Hour
	MinMaxLag          = time.Second
	MaxMaxLag          = 24 * time.Hour
	MaxDiscoveryWindow = 10 * time.Minute
	MaxServerIDBase    = 2_000_000_000 // server_id is 32 bits wide; this leaves room for every ordinal
)

const defaultGatePatience = 10 * time.Second

// Config is everything the commands can be told, after flags, environment and defaults have been merged. A zero Config is
// not valid; DefaultConfig returns one that lacks only names and secrets. Config is a value: nobody changes it after Validate.
type Config struct {
	PodName      string // --pod-name, like "mysql-2"
	Ordinal      int    // --ordinal; -1: the number at the end of PodName
	FirstOrdinal int    // --first-ordinal: the ordinal of the source
	Service      string // --service: the governing Service, or "" where there is none
	PeerHost     string // --peer-host: the template of a peer's host; "": the default for Service
	Replicas     int    // --replicas: pods in the set, the source included; 0: ask DNS

	Volume         string // --volume: mounted at the same path by the agent and mysqld
	MySQLConfigDir string // --mysql-config-dir: where mysqld reads *.cnf
	MySQLAddress   string // --mysql-address: this pod's mysqld, a socket path or host:port
	MySQLVersion   string // --mysql-version: of this pod's mysqld, which agent init cannot ask; "": not known
	MySQLPort      int    // --mysql-port: of every mysqld of the set
	ServerIDBase   uint32 // --server-id-base: server_id = base + ordinal

	DataListen   string // --data-listen: the mTLS plane's listener
	DataPort     int    // --data-port: where peers' data planes listen
	StatusListen string // --status-listen: the plain status plane's listener
	StatusPort   int    // --status-port: where peers' status planes listen

	SecretFile string // --secret-file: the cluster secret
	// RootPassword returns the password of MySQL's root, read anew at each call; the caller does not keep it. nil: none was
	// given, which is fine unless this pod has to create the accounts.
	RootPassword func() (string, error)

	AllowEmptySource bool          // --allow-empty-source
	Adopt            bool          // --adopt
	SkipIfServed     bool          // --skip-if-served: agent init is content with a volume that another agent serves
	CloneWorkers     int           // --clone-workers: extra connections of a clone; -1: as many as [Config.Workers] says
	CloneStreams     int           // --clone-streams: HTTP streams of a clone; 0: the agents choose
	Copy             CopyMode      // --copy: who reads this pod's data files for a clone
	Compress         Compression   // --compress: of a clone's data on the way
	MaxRate          uint64        // --max-rate: bytes per second of each clone given or taken; 0: no limit
	LatencyLimit     time.Duration // --donor-latency-limit: a clone is slowed while commits here take longer; 0: no limit
	DonorPatience    time.Duration // --donor-patience: how long the previous pod may stay unfit before others are asked
	MaxLag           time.Duration // --max-lag: a replica further behind is not ready
	DiscoveryWindow  time.Duration // --discovery-window: how long siblings may take to appear in DNS
	Heal             HealPolicy    // --heal: whether a replica whose data cannot go on is cloned anew
	Durability       Durability    // --durability: when the source acknowledges a commit
	GatePatience     time.Duration // --gate-patience: how long a source waits for siblings that do not say what they have; 0: see [Config.Gate]

	Backups BackupConfig

	AgentVersion string // of this program, for status and logs; not an option
}

// CopyMode says who reads the data files for a clone: the donor's agent, beside its mysqld, or mysqld itself.
type CopyMode string

// The copy modes.
const (
	CopyAuto   CopyMode = clone.CopyAuto   // the agent where every check passes, else mysqld
	CopyDirect CopyMode = clone.CopyDirect // the agent; mysqld only what it cannot read
	CopyServer CopyMode = clone.CopyServer // mysqld
)

// Compression says whether a clone's data is packed on its way.
type Compression string

// The choices.
const (
	CompressAuto Compression = clone.CompressAuto // where measuring says that it is faster
	CompressOn   Compression = clone.CompressOn
	CompressOff  Compression = clone.CompressOff
)

// DefaultConfig returns the defaults of every option.
func DefaultConfig() Config {
	return Config{
		Ordinal:         -1,
		CloneWorkers:    -1,
		Copy:            CopyAuto,
		Compress:        CompressAuto,
		DonorPatience:   2 * time.Minute,
		Volume:          "/var/lib/mysql",
		MySQLConfigDir:  "/etc/mysql/conf.d",
		MySQLAddress:    "/var/run/mysqld/mysqld.sock",
		MySQLPort:       3306,
		ServerIDBase:    100,
		DataListen:      ":3307",
		DataPort:        3307,
		StatusListen:    ":8080",
		StatusPort:      8080,
		MaxLag:          30 * time.Second,
		DiscoveryWindow: 10 * time.Second,
		Heal:            HealAuto,
		Durability:      DurabilityAsync,
	}
}

// Gate returns how long a source whose gate is closed waits for siblings that do not say what they have; 0: for ever. What is acknowledged
// by a replica only, and not on the source any more, must not be overtaken: so semi-synchronous replication waits.
func (c Config) Gate() time.Duration {
	if c.GatePatience == 0 && c.Durability != DurabilitySemisync {
		return defaultGatePatience
	}
	return c.GatePatience
}

// Workers returns the number of extra connections of a clone: CloneWorkers, or what suits this machine.
func (c Config) Workers() int {
	if c.CloneWorkers >= 0 {
		return c.CloneWorkers
	}
	// Copying waits for disk and network more than it computes. See refman/8.4 sysvar_clone_autotune_concurrency.
	return min(max(runtime.GOMAXPROCS(0), 1), 4)
}

// Identity returns who this pod is. The error is a *PodNameError.
func (c Config) Identity() (Identity, error) {
	return ParseIdentity(c.PodName, c.Ordinal, c.FirstOrdinal)
}

// Peers returns the address book of this pod's set. It checks only what names and addresses are made of; the error is an
// *OptionError or a *PodNameError.
func (c Config) Peers() (*Peers, error) {
	for _, check := range []error{
		intRange("ordinal", c.Ordinal, -1, MaxOrdinal),
		intRange("first-ordinal", c.FirstOrdinal, 0, MaxOrdinal),
		intRange("replicas", c.Replicas, 0, MaxReplicas),
		intRange("mysql-port", c.MySQLPort, 1, 65535),
		intRange("data-port", c.DataPort, 1, 65535),
		intRange("status-port", c.StatusPort, 1, 65535),
	} {
		if check != nil {
			return nil, check
		}
	}
	id, err := c.Identity()
	if err != nil {
		return nil, err
	}
	return NewPeers(id, c)
}

// Validate checks every field and the pod's name, and returns the first thing that is wrong: an *OptionError or a
// *PodNameError. It touches neither disk nor network.
func (c Config) Validate() error {
	if _, err := c.Peers(); err != nil {
		return err
	}
	for _, check := range []error{
		intRange("server-id-base", int(c.ServerIDBase), 1, MaxServerIDBase),
		intRange("clone-workers", c.CloneWorkers, -1, MaxCloneWorkers),
		intRange("clone-streams", c.CloneStreams, 0, MaxCloneStreams),
		oneOf("copy", c.Copy, CopyAuto, CopyDirect, CopyServer),
		oneOf("compress", c.Compress, CompressAuto, CompressOn, CompressOff),
		rate("max-rate", c.MaxRate),
		durationRange("donor-latency-limit", c.LatencyLimit, 0, MaxLatencyLimit),
		durationRange("donor-patience", c.DonorPatience, 0, MaxDonorPatience),
		oneOf("heal", c.Heal, HealAuto, HealReport),
		oneOf("durability", c.Durability, DurabilityAsync, DurabilitySemisync),
		durationRange("gate-patience", c.GatePatience, 0, MaxGatePatience),
		durationRange("max-lag", c.MaxLag, MinMaxLag, MaxMaxLag),
		durationRange("discovery-window", c.DiscoveryWindow, 0, MaxDiscoveryWindow),
		listenAddress("data-listen", c.DataListen),
		listenAddress("status-listen", c.StatusListen),
		absolutePath("volume", c.Volume),
		absolutePath("mysql-config-dir", c.MySQLConfigDir),
		mysqlAddress("mysql-address", c.MySQLAddress),
		mysqlVersion("mysql-version", c.MySQLVersion),
	} {
		if check != nil {
			return check
		}
	}
	if c.SecretFile == "" {
		return &OptionError{
			Flag: "secret-file", Missing: true, Code: ExitConfig,
			Allowed: "the path of a file with the cluster secret",
			Remedy:  "make one with: head -c 32 /dev/urandom | base64 > FILE, mount it into every pod and name it with --secret-file or AGENT_SECRET_FILE",
		}
	}
	return nil
}

// OptionError says that an option's value is not one of those allowed.
type OptionError struct {
	Flag    string // without dashes
	Source  string // where the value came from; "": the flag
	Value   string // as given
	Allowed string // the range, in words
	Missing bool   // nothing was given, but something is needed
	Remedy  string // "": the range says it all
	Code    int    // exit code; 0: ExitUsage
}

func (e *OptionError) Error() string {
	if e.Missing {
		return fmt.Sprintf("--%s is missing: must be %s", e.Flag, e.Allowed)
	}
	source := e.Source
	if source == "" {
		source = "--" + e.Flag
	}
	return fmt.Sprintf("%s=%q: must be %s", source, e.Value, e.Allowed)
}

// Hint tells the operator what to do.
func (e *OptionError) Hint() string { return e.Remedy }

// ExitCode returns the process's exit code for this error.
func (e *OptionError) ExitCode() int {
	if e.Code != 0 {
		return e.Code
	}
	return ExitUsage
}

func intRange(flag string, v, low, high int) error {
	if v < low || v > high {
		return &OptionError{Flag: flag, Value: strconv.Itoa(v), Allowed: fmt.Sprintf("%d to %d", low, high)}
	}
	return nil
}

func durationRange(flag string, v, low, high time.Duration) error {
	if v < low || v > high {
		return &OptionError{Flag: flag, Value: v.String(), Allowed: fmt.Sprintf("%v to %v", low, high)}
	}
	return nil
}

func oneOf[T ~string](flag string, v T, choices ...T) error {
	if slices.Contains(choices, v) {
		return nil
	}
	words := make([]string, len(choices))
	for i, choice := range choices {
		words[i] = string(choice)
	}
	last := len(words) - 1
	return &OptionError{Flag: flag, Value: string(v), Allowed: strings.Join(words[:last], ", ") + " or " + words[last]}
}

func rate(flag string, v uint64) error {
	if v != 0 && v < MinMaxRate {
		return &OptionError{Flag: flag, Value: strconv.FormatUint(v, 10), Allowed: "0 for no limit, or at least 1MB a second"}
	}
	return nil
}

func listenAddress(flag, v string) error {
	_, port, err := net.SplitHostPort(v)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
		return &OptionError{Flag: flag, Value: v, Allowed: `an address to listen on, like ":8080", "10.0.0.7:8080" or "[::1]:8080"`}
	}
	return nil
}

func absolutePath(flag, v string) error {
	if !filepath.IsAbs(v) || filepath.Clean(v) == "/" {
		return &OptionError{Flag: flag, Value: v, Allowed: "an absolute path to a directory below /"}
	}
	return nil
}

func mysqlVersion(flag, v string) error {
	if v == "" {
		return nil
	}
	if _, err := mysqlx.ParseVersion(v); err != nil {
		return &OptionError{Flag: flag, Value: v, Allowed: `a server's version, like "9.7.4"`}
	}
	return nil
}

func mysqlAddress(flag, v string) error {
	if filepath.IsAbs(v) {
		return nil
	}
	host, port, err := net.SplitHostPort(v)
	if n, perr := strconv.Atoi(port); err != nil || host == "" || perr != nil || n < 1 || n > 65535 {
		return &OptionError{Flag: flag, Value: v, Allowed: `the path of a socket or host:port, like "127.0.0.1:3306"`}
	}
	return nil
}
