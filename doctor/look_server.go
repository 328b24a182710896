package doctor

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"time"

	"ordinal/agent"
	"ordinal/internal/trust"
	"ordinal/mysqlx"
)

// server is what the pod's mysqld says of itself.
type server struct {
	err         error // of a login as the agent's account; nil: it works
	unsupported *mysqlx.UnsupportedError
	facts       mysqlx.Facts
	up          bool // facts are there

	asRoot    bool  // root had to be asked, because the agent's account does not work
	root      error // of a login as root; nil: it works
	rootTried bool

	clusterID string
	values    map[string]string // global variables and status, lower-case names, as the server says them
	sources   map[string]string // of variables that an option file has set, which
	overrides []mysqlx.Override
	channels  []mysqlx.ReplicaStatus
	semisync  mysqlx.SemiSync
	data      seen[tables]
}

// tables are those that a copy does not carry, and what a copy takes.
type tables struct {
	encrypted, external, others []string
	bytes                       uint64
}

// lookAtServer logs in as the agent does: with its account, or as root where that is not there.
func lookAtServer(ctx context.Context, cfg agent.Config, keys secret, ring *trust.Ring) (server, error) {
	var s server
	var db *mysqlx.DB
	if ctx.Err() != nil {
		return s, errNoTime // the keys have taken it all: nothing is known of the server
	}
	if s.err = errNoLogin; ring == nil {
		if err := knock(ctx, cfg.MySQLAddress); err != nil {
			s.err = err
			return s, nil
		}
	}
	if ring != nil {
		for _, password := range ring.AgentPasswords() {
			if db != nil {
				db.Close()
			}
			if db, s.err = open(cfg, mysqlx.AgentAccount, password); s.err != nil {
				return s, s.err
			}
			s.facts, s.err = db.Facts(ctx)
			if !mysqlx.IsAccessDenied(s.err) {
				break
			}
		}
	}
	if keys.root && keys.rootErr == nil && (ring == nil || s.err == nil || mysqlx.IsAccessDenied(s.err)) {
		s.rootTried = true
		s.root = mysqlx.CheckLogin(ctx, endpointOf(cfg, "root", keys.password))
	}
	if s.err != nil && s.rootTried && s.root == nil {
		if db != nil {
			db.Close()
		}
		var err error
		if db, err = open(cfg, "root", keys.password); err != nil {
			return s, err
		}
		s.asRoot = true
		if s.facts, err = db.Facts(ctx); err != nil {
			s.err = err
		} else {
			s.up = true
		}
	}
	if db == nil {
		return s, nil
	}
	defer db.Close()
	errors.As(s.err, &s.unsupported)
	s.up = s.up || s.err == nil
	if !s.up {
		return s, nil
	}
	return s, s.lookInside(ctx, db, cfg)
}

// loginWithin is how long the own server may take to let one in: it may be recovering, or its machine busy.
const loginWithin = 4 * time.Second

// errNoLogin says that a server is there and nobody may ask it.
var errNoLogin = errors.New("there is no secret to log in with")

// errNoTime says that a machine is too busy to be looked at.
var errNoTime = errors.New("this machine is too busy: nothing was asked in time")

// knock finds out whether anybody listens.
func knock(ctx context.Context, address string) error {
	network := "tcp"
	if filepath.IsAbs(address) {
		network = "unix"
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

func endpointOf(cfg agent.Config, user, password string) mysqlx.Endpoint {
	return mysqlx.Endpoint{
		Address: cfg.MySQLAddress, Credentials: mysqlx.Credentials{User: user, Password: mysqlx.FixedPassword(password)},
		ConnectTimeout: loginWithin, ReadTimeout: lookServer,
	}
}

func open(cfg agent.Config, user, password string) (*mysqlx.DB, error) {
	return mysqlx.Open(endpointOf(cfg, user, password))
}

// lookInside asks for all that a check may need to know.
func (s *server) lookInside(ctx context.Context, db *mysqlx.DB, cfg agent.Config) (err error) {
	if s.clusterID, err = db.ClusterID(ctx); err != nil && !errors.Is(err, mysqlx.ErrSeveralClusters) {
		return err
	}
	rows, err := db.Query(ctx, `SELECT LOWER(VARIABLE_NAME), VARIABLE_VALUE FROM performance_schema.global_variables
		UNION ALL SELECT LOWER(VARIABLE_NAME), VARIABLE_VALUE FROM performance_schema.global_status
			WHERE VARIABLE_NAME IN ('Threads_connected', 'Max_used_connections')`)
	if err != nil {
		return err
	}
	s.values = map[string]string{}
	for _, row := range rows {
		s.values[row[0]] = row[1]
	}
	rows, err = db.Query(ctx, "SELECT VARIABLE_NAME, VARIABLE_PATH FROM performance_schema.variables_info WHERE VARIABLE_PATH <> ''")
	if err != nil {
		return err
	}
	s.sources = map[string]string{}
	for _, row := range rows {
		s.sources[row[0]] = row[1]
	}
	if config, err := readConfig(cfg.MySQLConfigDir + "/" + configName); err == nil && config != nil {
		for _, name := range []string{"plugin_load_add", "super_read_only", "offline_mode"} { // the agent turns the latter on and off itself
			delete(config, name)
		}
		if s.overrides, err = db.Overrides(ctx, config); err != nil {
			return err
		}
	}
	if s.channels, err = db.ReplicaStatus(ctx); err != nil {
		return err
	}
	if s.semisync, err = db.SemiSync(ctx); err != nil {
		return err
	}
	s.data.it, s.data.err = lookAtTables(ctx, db)
	return nil
}

// lookAtTables reads the dictionary, which takes a while where there are many.
func lookAtTables(ctx context.Context, db *mysqlx.DB) (t tables, err error) {
	if t.encrypted, err = db.EncryptedTablespaces(ctx); err != nil {
		return t, err
	}
	if t.external, err = db.ExternalTablespaces(ctx); err != nil {
		return t, err
	}
	if t.others, err = db.NonInnoDBTables(ctx); err != nil {
		return t, err
	}
	t.bytes, err = db.CopySize(ctx)
	return t, err
}
