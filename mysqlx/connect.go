package mysqlx

import (
	"cmp"
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/go-sql-driver/mysql"
)

// DefaultConnectTimeout bounds dialling plus authentication when an Endpoint does not say otherwise.
const DefaultConnectTimeout = 5 * time.Second

// programName is the connection attribute by which an operator finds our sessions in
// performance_schema.session_connect_attrs. See refman/8.4 performance-schema-connection-attribute-tables.
const programName = "ordinal"

// ErrPlaintext says that a connection without TLS would have left the machine. Nothing was sent.
var ErrPlaintext = errors.New("connection without tls is allowed to a unix socket or a loopback address only")

// Credentials say who logs in.
type Credentials struct {
	User string
	// Password is called for every new connection, so that a password file that was replaced is seen. Nil means no password.
	Password func() (string, error)
}

// FixedPassword returns a Credentials.Password that always answers p.
func FixedPassword(p string) func() (string, error) {
	return func() (string, error) { return p, nil }
}

// An Endpoint is a server and how to log in to it. It holds no connection.
type Endpoint struct {
	// Address is the absolute path of a unix socket, or host:port.
	Address string
	Credentials
	// TLS is required for an address that is neither a unix socket nor on the loopback interface.
	TLS *tls.Config
	// ConnectTimeout bounds dialling and authentication together. 0 means DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// ReadTimeout bounds each single read and write on the network. 0 means that only the caller's context does.
	ReadTimeout time.Duration
}

// String returns user and address, never the password.
func (e Endpoint) String() string { return e.User + "@" + e.Address }

// GoString is String: %#v must not print what the Password function closes over.
func (e Endpoint) GoString() string { return e.String() }

func (e Endpoint) network() string {
	if filepath.IsAbs(e.Address) {
		return "unix"
	}
	return "tcp"
}

// dial connects without logging in, and refuses to be the first hop of a password in the clear.
func (e Endpoint) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	// The address is judged after dialling: a name may resolve to anything.
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok && e.TLS == nil && !tcp.IP.IsLoopback() {
		_ = conn.Close()
		return nil, ErrPlaintext
	}
	return conn, nil
}

// config returns the driver's configuration. Every session has the same, known sql_mode whatever the server's default is:
// quoteString depends on it. Times are read as numbers, so the time zone never matters.
func (e Endpoint) config() (*mysql.Config, error) {
	if e.Address == "" {
		return nil, errors.New("no mysqld address: give the path of a unix socket or host:port")
	}
	if e.network() == "tcp" {
		if _, _, err := net.SplitHostPort(e.Address); err != nil {
			return nil, fmt.Errorf("mysqld address %q: give the absolute path of a unix socket or host:port", e.Address)
		}
	}
	cfg := mysql.NewConfig()
	cfg.User = e.User
	cfg.Net = e.network() // "unix" even though DialFunc is ours: the driver sends a password as it is over nothing but that name or TLS
	cfg.Addr = e.Address
	cfg.TLS = e.TLS
	cfg.ReadTimeout = e.ReadTimeout
	cfg.WriteTimeout = e.ReadTimeout
	cfg.DialFunc = e.dial
	cfg.Logger = new(mysql.NopLogger) // its lines repeat what the returned errors say
	cfg.ConnectionAttributes = "program_name:" + programName
	cfg.Params = map[string]string{"sql_mode": "'" + sessionSQLMode + "'"}
	password := e.Password
	if password == nil {
		password = FixedPassword("")
	}
	err := cfg.Apply(mysql.BeforeConnect(func(_ context.Context, c *mysql.Config) error {
		p, err := password()
		c.Passwd = p
		return err
	}))
	return cfg, err
}

// connector bounds the whole login, names the server in every error and is where sql.DB gets its connections.
type connector struct {
	driver.Connector
	endpoint Endpoint
}

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.endpoint.ConnectTimeout, DefaultConnectTimeout))
	defer cancel()
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to mysqld at %s as %s: %w", c.endpoint.Address, c.endpoint.User, err)
	}
	return conn, nil
}

func newConnector(e Endpoint, cfg *mysql.Config) (*connector, error) {
	inner, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("mysqld at %s: %w", e.Address, err)
	}
	return &connector{Connector: inner, endpoint: e}, nil
}

// DB is a small pool of connections to one server. Its methods may be called concurrently.
type DB struct {
	db       *sql.DB
	endpoint Endpoint
}

// Open returns a DB without connecting: the first method that needs a connection makes it, and reports when it cannot. An error here
// means that the endpoint itself is unusable. The caller closes the DB.
func Open(e Endpoint) (*DB, error) {
	cfg, err := e.config()
	if err != nil {
		return nil, err
	}
	c, err := newConnector(e, cfg)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	// An agent must never be what exhausts max_connections, and a session left idle must not outlive a change of passwords for long.
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(maxIdle)
	db.SetConnMaxIdleTime(time.Minute)
	db.SetConnMaxLifetime(10 * time.Minute)
	return &DB{db: db, endpoint: e}, nil
}

// maxIdle is how many connections are kept for the next use.
const maxIdle = 2

// CloseIdle ends the connections that nobody uses at the moment. Later calls make new ones.
func (db *DB) CloseIdle() {
	db.db.SetMaxIdleConns(-1)
	db.db.SetMaxIdleConns(maxIdle)
}

// Close ends all connections. Methods called after it fail.
func (db *DB) Close() error { return db.db.Close() }

// Ping says whether the server answers a login and a command.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.db.PingContext(ctx); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

// Exec runs one statement. args stand for its ? placeholders. It exists for programs that drive a server as its user does, such as a
// load generator; what the agent needs has its own method.
func (db *DB) Exec(ctx context.Context, query string, args ...any) error {
	_, err := db.db.ExecContext(ctx, query, args...)
	return err
}

// Query returns all rows of one statement as text, NULL as "NULL". Like Exec it is not what the agent uses, and it holds the whole
// result in memory.
func (db *DB) Query(ctx context.Context, query string, args ...any) ([][]string, error) {
	rows, err := db.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var all [][]string
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		targets := make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		row := make([]string, len(columns))
		for i, v := range values {
			row[i] = "NULL"
			if v.Valid {
				row[i] = v.String
			}
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// strings returns the first column of a query.
func (db *DB) strings(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := db.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}
