package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"ordinal/agent"
)

// settings are the values of all options.
type settings struct {
	agent.Config
	set              string // of pods, for who is none of them; "": PodName says it
	recipients       []string
	identityFile     string
	passphraseFile   string
	rootPasswordFile string
	logLevel         string
	logFormat        string
}

func defaults() *settings {
	return &settings{Config: agent.DefaultConfig(), logLevel: "info", logFormat: "auto"}
}

// option is one row of the table from which flags, environment, help and docs/configuration.md are made.
type option struct {
	name    string
	aliases []string // further environment variables, after AGENT_<NAME>
	bind    binder   // also says the default: the value in defaults()
	unset   string   // the default in words, where the value does not say it
	allowed string   // the range in words, to follow "must be"
	secret  bool     // the value names a secret
	takers  commands
	help    string
}

// binder makes a flag for a field of settings.
type binder func(flags *pflag.FlagSet, s *settings, name, help string)

func text(field func(*settings) *string) binder {
	return func(flags *pflag.FlagSet, s *settings, name, help string) {
		flags.StringVar(field(s), name, *field(s), help)
	}
}

func number(field func(*settings) *int) binder {
	return func(flags *pflag.FlagSet, s *settings, name, help string) {
		flags.IntVar(field(s), name, *field(s), help)
	}
}

func duration(field func(*settings) *time.Duration) binder {
	return func(flags *pflag.FlagSet, s *settings, name, help string) {
		flags.DurationVar(field(s), name, *field(s), help)
	}
}

func yesNo(field func(*settings) *bool) binder {
	return func(flags *pflag.FlagSet, s *settings, name, help string) {
		flags.BoolVar(field(s), name, *field(s), help)
	}
}

// list makes a flag that may be given several times, and separates values by commas.
func list(field func(*settings) *[]string) binder {
	return func(flags *pflag.FlagSet, s *settings, name, help string) {
		flags.Var((*listValue)(field(s)), name, help)
	}
}

const (
	anyPort   = "1 to 65535"
	anyListen = `an address to listen on, like ":8080"`
)

// options is the one table of all options that more than one command has, or that are worth a variable.
func options() []option {
	return []option{
		{name: "set", bind: text(func(s *settings) *string { return &s.set }), takers: cmdStatus | cmdBackup,
			unset: "of the pod's name", allowed: "the name of a StatefulSet, like mysql", help: "the set's name, for who is no pod of it: instead of a pod's name"},
		{name: "pod-name", aliases: []string{"POD_NAME"}, bind: text(func(s *settings) *string { return &s.PodName }), takers: pods | setTools,
			unset: "`$HOSTNAME`", allowed: "a name that ends in -N, like mysql-2", help: "this pod's name"},
		{name: "ordinal", bind: number(func(s *settings) *int { return &s.Ordinal }), takers: pods | setTools,
			unset: "the number at the end of the pod's name", allowed: fmt.Sprintf("-1 to %d", agent.MaxOrdinal), help: "this pod's ordinal; -1: from its name"},
		{name: "first-ordinal", bind: number(func(s *settings) *int { return &s.FirstOrdinal }), takers: pods | setTools,
			allowed: fmt.Sprintf("0 to %d", agent.MaxOrdinal), help: "the source's ordinal: .spec.ordinals.start of the StatefulSet"},
		{name: "service", bind: text(func(s *settings) *string { return &s.Service }), takers: pods | setTools,
			unset: "none", allowed: "the name of a Service", help: "the governing Service: .spec.serviceName of the StatefulSet"},
		{name: "peer-host", bind: text(func(s *settings) *string { return &s.PeerHost }), takers: pods | setTools,
			unset: "`" + agent.DefaultPeerHost + "`, without a service `" + agent.DefaultPeerHostNoService + "`", allowed: "a host name with {ordinal} in it",
			help: "template of a peer's host name or address, of {base}, {ordinal} and {service}"},
		{name: "replicas", bind: number(func(s *settings) *int { return &s.Replicas }), takers: pods | setTools,
			unset: "0: DNS SRV of the service", allowed: fmt.Sprintf("0 to %d", agent.MaxReplicas), help: "pods in the set, the source included; 0: ask DNS"},

		{name: "volume", bind: text(func(s *settings) *string { return &s.Volume }),
			takers: pods | cmdRestore | cmdVolume, allowed: "an absolute path to a directory below /", help: "the volume, at the same path for the agent and mysqld"},
		{name: "mysql-config-dir", bind: text(func(s *settings) *string { return &s.MySQLConfigDir }),
			takers: pods, allowed: "an absolute path to a directory below /", help: "where mysqld reads *.cnf; init writes zz-ordinal.cnf there"},
		{name: "mysql-address", bind: text(func(s *settings) *string { return &s.MySQLAddress }),
			takers: pods, allowed: "the path of a socket or host:port", help: "this pod's mysqld: path of its socket, or host:port"},
		{name: "mysql-version", bind: text(func(s *settings) *string { return &s.MySQLVersion }),
			takers: pods, unset: "not known", allowed: "a server's version, like 9.7.4", help: "version of this pod's mysqld, so that init refuses a copy it could not start on"},
		{name: "mysql-port", bind: number(func(s *settings) *int { return &s.MySQLPort }), takers: pods, allowed: anyPort, help: "port of every mysqld of the set"},
		{name: "server-id-base", bind: func(flags *pflag.FlagSet, s *settings, name, help string) {
			flags.Uint32Var(&s.ServerIDBase, name, s.ServerIDBase, help)
		}, takers: pods, allowed: fmt.Sprintf("1 to %d", agent.MaxServerIDBase), help: "server_id is this plus the ordinal; the same in every pod"},

		{name: "data-listen", bind: text(func(s *settings) *string { return &s.DataListen }), takers: pods, allowed: anyListen, help: "where to serve clones to peers (mutual TLS)"},
		{name: "data-port", bind: number(func(s *settings) *int { return &s.DataPort }), takers: pods | cmdBackup, allowed: anyPort, help: "port at which peers serve clones"},
		{name: "status-listen", bind: text(func(s *settings) *string { return &s.StatusListen }), takers: pods, allowed: anyListen, help: "where to serve probes and status (plain HTTP, no secrets)"},
		{name: "status-port", bind: number(func(s *settings) *int { return &s.StatusPort }), takers: pods | cmdStatus | cmdPlan, allowed: anyPort, help: "port at which peers serve their status"},

		{name: "secret-file", bind: text(func(s *settings) *string { return &s.SecretFile }), secret: true,
			takers: pods | cmdBackup | storeTools, unset: "none; required", allowed: "the path of a file of 32 bytes or more", help: "file with the cluster secret, the same in every pod"},
		{name: "root-password-file", aliases: []string{"MYSQL_ROOT_PASSWORD_FILE"}, bind: text(func(s *settings) *string { return &s.rootPasswordFile }), secret: true,
			takers: pods, unset: "`$MYSQL_ROOT_PASSWORD`", allowed: "the path of a file", help: "file with the password of MySQL's root, needed once to create accounts"},

		{name: "store", bind: text(func(s *settings) *string { return &s.Backups.Store }), takers: pods | cmdBackup | storeTools,
			unset: "none: pods archive nothing; the tools need one", allowed: "the URL of a store, like file:///backups or s3://bucket/prefix",
			help: "where the set's backups are kept, and where run archives the binlogs"},
		{name: "restore-from", bind: text(func(s *settings) *string { return &s.Backups.RestoreFrom }), takers: pods,
			unset: "none: such a source starts empty", allowed: "URL[@backup|@latest|@time], like s3://bucket/prefix@latest",
			help: "what an empty source is restored from when no sibling has data; @latest, the default, and a time include what was archived after the backup"},
		{name: "keep-binlogs", bind: size(func(s *settings) *int64 { return &s.Backups.KeepBinlogs }), takers: pods,
			unset: "0: 20GiB", allowed: "0 or a number of bytes, like 50GB", help: "room that binlogs may take while they are kept because they are not archived yet; 0: 20GiB"},
		{name: "encrypt-to", bind: list(func(s *settings) *[]string { return &s.recipients }), takers: pods | cmdBackup,
			unset: "none: not encrypted", allowed: "age recipients (age1…), separated by commas", help: "encrypt so that only the holders of the identities of these recipients can read it"},
		{name: "passphrase-file", bind: text(func(s *settings) *string { return &s.passphraseFile }), secret: true, takers: pods | cmdBackup | contentTools,
			unset: "none", allowed: "the path of a file", help: "file with the passphrase to encrypt with, if there are no recipients, or to decrypt with"},
		{name: "identity-file", bind: text(func(s *settings) *string { return &s.identityFile }), secret: true, takers: pods | contentTools,
			unset: "none", allowed: "the path of a file", help: "file with age identities (AGE-SECRET-KEY-…) to decrypt with"},

		{name: "allow-empty-source", bind: yesNo(func(s *settings) *bool { return &s.AllowEmptySource }),
			takers: pods, allowed: "true or false", help: "let an empty source start a new cluster although siblings do not answer"},
		{name: "adopt", bind: yesNo(func(s *settings) *bool { return &s.Adopt }),
			takers: pods, allowed: "true or false", help: "take over a data directory that lies in the volume's root"},
		{name: "skip-if-served", bind: yesNo(func(s *settings) *bool { return &s.SkipIfServed }), takers: cmdInit, allowed: "true or false",
			help: "end well when an agent has the volume and its data is complete: for Compose, which starts init again at every `up`. Not on Kubernetes, where that agent is another pod's"},
		{name: "clone-workers", bind: number(func(s *settings) *int { return &s.CloneWorkers }),
			takers: pods, unset: "-1: by the number of CPUs", allowed: fmt.Sprintf("-1 to %d", agent.MaxCloneWorkers), help: "extra connections of a clone, as donor or recipient; -1: by the number of CPUs"},
		{name: "clone-streams", bind: number(func(s *settings) *int { return &s.CloneStreams }),
			takers: pods | cmdBackup, unset: "0: the agents choose", allowed: fmt.Sprintf("0 to %d", agent.MaxCloneStreams), help: "HTTP streams of a clone, as donor or recipient; 0: the agents choose"},
		{name: "copy", bind: text(func(s *settings) *string { return (*string)(&s.Copy) }),
			takers: pods, allowed: "auto, direct or server", help: "who reads this pod's data files for a clone: the agent (direct), mysqld (server), or the agent where every check passes (auto)"},
		{name: "compress", bind: text(func(s *settings) *string { return (*string)(&s.Compress) }),
			takers: pods | cmdBackup, allowed: "auto, on or off", help: "zstd for a clone's data on its way; auto: where measuring says that it is faster"},
		{name: "max-rate", bind: bytesPerSecond(func(s *settings) *uint64 { return &s.MaxRate }),
			takers: pods | cmdBackup, unset: "0: no limit", allowed: "0 or at least 1MB a second, like 50MB or 64MiB", help: "bytes per second of a clone at most, of what run gives and of what init and backup take; 0: no limit"},
		{name: "donor-latency-limit", bind: duration(func(s *settings) *time.Duration { return &s.LatencyLimit }),
			takers: pods, unset: "0s: no limit", allowed: fmt.Sprintf("0s to %v", agent.MaxLatencyLimit), help: "a donor slows the clone it gives while commits in its own mysqld take longer than this; 0s: never"},
		{name: "donor-patience", bind: duration(func(s *settings) *time.Duration { return &s.DonorPatience }),
			takers: pods, allowed: fmt.Sprintf("0s to %v", agent.MaxDonorPatience), help: "how long the previous pod may be no fit donor before init asks those before it; one that is being built itself is always waited for"},
		{name: "heal", bind: text(func(s *settings) *string { return (*string)(&s.Heal) }),
			takers: pods, allowed: "auto or report", help: "auto: a replica whose data cannot go on is cloned anew, its data kept in quarantine; report: only say so"},
		{name: "durability", bind: text(func(s *settings) *string { return (*string)(&s.Durability) }),
			takers: pods, allowed: "async or semisync", help: "semisync: a commit is acknowledged when a replica has it as well, and waits while there is none"},
		{name: "gate-patience", bind: duration(func(s *settings) *time.Duration { return &s.GatePatience }),
			takers: pods, unset: "0s: 10s, or for ever with --durability=semisync", allowed: fmt.Sprintf("0s to %v", agent.MaxGatePatience), help: "how long a restarted source waits for siblings that do not say what they have, before it takes writes"},
		{name: "max-lag", bind: duration(func(s *settings) *time.Duration { return &s.MaxLag }),
			takers: pods | cmdBackup, allowed: fmt.Sprintf("%v to %v", agent.MinMaxLag, agent.MaxMaxLag), help: "a replica further behind its source is not ready, and gives no backup"},
		{name: "discovery-window", bind: duration(func(s *settings) *time.Duration { return &s.DiscoveryWindow }),
			takers: pods, allowed: fmt.Sprintf("0s to %v", agent.MaxDiscoveryWindow), help: "how long siblings may take to appear in DNS"},

		{name: "log-level", bind: text(func(s *settings) *string { return &s.logLevel }), takers: pods | cmdBackup | cmdVerify | cmdRestore, allowed: "debug, info, warn or error", help: "lowest level to log"},
		{name: "log-format", bind: text(func(s *settings) *string { return &s.logFormat }), takers: pods | cmdBackup | cmdVerify | cmdRestore, allowed: "auto, json or console", help: "auto: console on a terminal, else json"},
	}
}

// rootPasswordEnv is the one option that is no flag: a command line can be read by everybody on the machine.
const rootPasswordEnv = "MYSQL_ROOT_PASSWORD"

// variables returns the environment variables of the option, the strongest first.
func (o option) variables() []string {
	return append([]string{"AGENT_" + strings.ToUpper(strings.ReplaceAll(o.name, "-", "_"))}, o.aliases...)
}

// complete fills in from the environment what flags did not say. An empty variable counts as unset: Compose and the shell
// make those where nothing was meant. Call it after the flags have been parsed.
func (s *settings) complete(flags *pflag.FlagSet, env func(string) string) (origins, error) {
	from := origins{}
	for _, o := range options() {
		flag := flags.Lookup(o.name)
		if flag == nil || flag.Changed {
			continue
		}
		for _, variable := range o.variables() {
			value := env(variable)
			if value == "" {
				continue
			}
			if err := flag.Value.Set(value); err != nil {
				return nil, &agent.OptionError{Flag: o.name, Source: variable, Value: value, Allowed: o.allowed}
			}
			from[o.name] = variable
			break
		}
	}
	// Every pod's host name is its pod name, cut to 63 bytes. Other machines' names end in numbers too, but only as a pod's
	// name do they go with an ordinal given apart.
	if host := env("HOSTNAME"); s.PodName == "" && (s.Ordinal < 0 || agent.EndsInOrdinal(host)) {
		s.PodName = host
	}
	if err := s.nameSet(flags); err != nil {
		return nil, err
	}
	return from, s.rootPassword(from["root-password-file"], env)
}

// nameSet takes the set's first pod for ours if the set was named and the command is for those who are no pod. That wins over the name of the process's own
// pod: a Job's may end in a number by chance.
func (s *settings) nameSet(flags *pflag.FlagSet) error {
	if s.set == "" {
		return nil
	}
	if flag := flags.Lookup("pod-name"); flag.Changed && flags.Lookup("set").Changed {
		return &usageError{text: "--set and --pod-name are given", hint: "give one of them: --set as no pod of the set, --pod-name as one"}
	}
	s.PodName, s.Ordinal = fmt.Sprintf("%s-%d", s.set, max(s.FirstOrdinal, 0)), -1
	return nil
}

// rootPassword chooses where root's password comes from. fileFrom is the variable that named the file, if one did.
func (s *settings) rootPassword(fileFrom string, env func(string) string) error {
	password := env(rootPasswordEnv)
	switch file := s.rootPasswordFile; {
	case file != "" && fileFrom == "MYSQL_ROOT_PASSWORD_FILE" && password != "": // the image refuses it, too
		return &usageError{text: "both MYSQL_ROOT_PASSWORD and MYSQL_ROOT_PASSWORD_FILE are set", hint: "set one of them"}
	case file != "":
		s.RootPassword = func() (string, error) { return readRootPassword(file) }
	case password != "":
		s.RootPassword = func() (string, error) { return password, nil }
	}
	return nil
}

// maxPasswordFile bounds what is read from a password file, in bytes.
const maxPasswordFile = 4 << 10

// readRootPassword reads the file as the image does, whose shell drops every newline at the end.
func readRootPassword(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", &rootPasswordError{err}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPasswordFile+1))
	switch {
	case err != nil:
		return "", &rootPasswordError{err}
	case len(b) > maxPasswordFile:
		return "", &rootPasswordError{fmt.Errorf("%s is longer than %d bytes", path, maxPasswordFile)}
	}
	return string(bytes.TrimRight(b, "\n")), nil
}

type rootPasswordError struct{ err error }

func (e *rootPasswordError) Error() string { return "read root's password: " + e.err.Error() }
func (e *rootPasswordError) Unwrap() error { return e.err }
func (e *rootPasswordError) ExitCode() int { return agent.ExitConfig }
func (e *rootPasswordError) Hint() string {
	return "name a file the agent can read with --root-password-file or MYSQL_ROOT_PASSWORD_FILE"
}

// origins tells which environment variable gave an option its value.
type origins map[string]string

// name puts the variable's name into an error about a value that came from there.
func (o origins) name(err error) error {
	var bad *agent.OptionError
	if errors.As(err, &bad) && bad.Source == "" {
		bad.Source = o[bad.Flag]
	}
	return err
}

// nameOf is name for commands that take --set: they do not need a pod's name.
func (o origins) nameOf(s *settings, err error) error {
	var bad *agent.PodNameError
	switch {
	case !errors.As(err, &bad):
		return o.name(err)
	case s.set != "":
		return o.name(&agent.OptionError{Flag: "set", Value: s.set, Allowed: allowed("set")})
	case bad.Remedy == "":
		bad.Remedy = "name the set, with --set mysql or AGENT_SET; or give a pod's name, with --pod-name mysql-0"
	}
	return err
}

// source returns what to call an option in an error about its value.
func (o origins) source(name string) string {
	if variable := o[name]; variable != "" {
		return variable
	}
	return "--" + name
}
