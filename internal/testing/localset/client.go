package localset

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"ordinal/mysqlx"
)

// Status is a Pod's answer to /v1/status, read as a client would: the names are those of the documentation, and this package does not
// depend on the agent's, so that the agent's tests can use it.
type Status struct {
	Pod           string    `json:"pod"`
	Ordinal       int       `json:"ordinal"`
	Role          string    `json:"role"`
	State         string    `json:"state"`
	Ready         bool      `json:"ready"`
	Reasons       []Reason  `json:"reasons"`
	ClusterID     string    `json:"cluster_id"`
	ServerUUID    string    `json:"server_uuid"`
	ServerVersion string    `json:"server_version"`
	GTIDExecuted  string    `json:"gtid_executed"`
	GTIDPurged    string    `json:"gtid_purged"`
	HasData       string    `json:"has_data"`
	LagSeconds    *float64  `json:"lag_seconds"`
	Clone         *Clone    `json:"clone"`
	Archive       *Archive  `json:"archive"`
	Secret        Secret    `json:"secret"`
	Phase         string    `json:"phase"`
	ObservedAt    time.Time `json:"observed_at"`
}

// Secret says which cluster secrets a Pod's agent holds, by their fingerprints.
type Secret struct {
	Current struct {
		Fingerprint string `json:"fingerprint"`
	} `json:"current"`
}

// Archive is how far the binlogs are archived.
type Archive struct {
	Pod        string    `json:"pod"`
	State      string    `json:"state"`
	Archived   string    `json:"archived_gtid_set"`
	ArchivedTo time.Time `json:"archived_to"`
	RPOSeconds *float64  `json:"rpo_seconds"`
	Gap        string    `json:"archive_gap"`
	Error      string    `json:"last_error"`
}

// Reason is why a Pod is not ready, or what to look at.
type Reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Clone is how far a clone is. Sizes are in bytes.
type Clone struct {
	Donor      string    `json:"donor"`
	Stage      string    `json:"stage"`
	BytesDone  int64     `json:"bytes_done"`
	BytesTotal int64     `json:"bytes_total"`
	Rate       float64   `json:"rate_bytes_per_second"`
	ETASeconds *float64  `json:"eta_seconds"`
	Since      time.Time `json:"since"`
	Resumes    int       `json:"resumes"`
}

// Explain returns the Pod's state and reasons in one line.
func (st Status) Explain() string {
	line := st.State
	for _, r := range st.Reasons {
		line += "; " + r.Code + ": " + r.Message
	}
	return line
}

func newHTTPClient() *http.Client {
	return &http.Client{
		Timeout: 2 * time.Second,
		// Nothing stays open between two questions, and no proxy of the machine is asked for a loopback address.
		Transport: &http.Transport{DisableKeepAlives: true},
	}
}

func (s *Set) get(ctx context.Context, ordinal int, path string) (code int, body []byte, err error) {
	url := "http://" + net.JoinHostPort(s.Pod(ordinal).Host, strconv.Itoa(StatusPort)) + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return resp.StatusCode, body, err
}

// Ready asks a Pod's /readyz. A Pod that does not answer is not ready.
func (s *Set) Ready(ctx context.Context, ordinal int) bool {
	code, _, err := s.get(ctx, ordinal, "/readyz")
	return err == nil && code == http.StatusOK
}

// Status asks a Pod what it says about itself, during agent init or agent run.
func (s *Set) Status(ctx context.Context, ordinal int) (Status, error) {
	var st Status
	code, body, err := s.get(ctx, ordinal, "/v1/status")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("answer %d: %.200s", code, body)
	}
	if err == nil {
		err = json.Unmarshal(body, &st)
	}
	if err != nil {
		return Status{}, fmt.Errorf("status of %s: %w", s.Pod(ordinal).Name, err)
	}
	return st, nil
}

// RootEndpoint returns how root logs in to a Pod's mysqld over TCP.
func (s *Set) RootEndpoint(ordinal int) mysqlx.Endpoint {
	var encrypted *tls.Config
	if s.options.Network != nil { // off the loopback nothing goes in the clear
		encrypted = &tls.Config{InsecureSkipVerify: true} // by the certificate that mysqld made for itself
	}
	return mysqlx.Endpoint{
		TLS:         encrypted,
		Address:     net.JoinHostPort(s.Pod(ordinal).Host, strconv.Itoa(MySQLPort)),
		Credentials: mysqlx.Credentials{User: "root", Password: mysqlx.FixedPassword(s.options.RootPassword)},
		ReadTimeout: 5 * time.Minute, // CHECKSUM TABLE of a large table is silent for long
	}
}

// RootPasswordFile is the path of the file with root's password.
func (s *Set) RootPasswordFile() string { return s.options.rootPasswordFile() }

// Hosts is the template of the Pods' addresses, as --peer-host takes it.
func (s *Set) Hosts() string { return s.options.Hosts }

// SecretFile is the path of the file with the cluster secret.
func (s *Set) SecretFile() string { return s.options.secretFile() }

// DB returns root's connections to a Pod's mysqld over TCP. They survive its restarts and are closed with the set.
func (s *Set) DB(ordinal int) (*mysqlx.DB, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if db := s.dbs[ordinal]; db != nil {
		return db, nil
	}
	db, err := mysqlx.Open(s.RootEndpoint(ordinal))
	if err == nil {
		s.dbs[ordinal] = db
	}
	return db, err
}

func (s *Set) closeDBs() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ordinal, db := range s.dbs {
		_ = db.Close()
		delete(s.dbs, ordinal)
	}
}

// Exec runs one statement on a Pod as root. args stand for its ? placeholders.
func (s *Set) Exec(ctx context.Context, ordinal int, statement string, args ...any) error {
	db, err := s.DB(ordinal)
	if err == nil {
		err = db.Exec(ctx, statement, args...)
	}
	return s.onPod(ordinal, err)
}

// Query returns all rows of one statement on a Pod, as text.
func (s *Set) Query(ctx context.Context, ordinal int, statement string, args ...any) ([][]string, error) {
	db, err := s.DB(ordinal)
	if err != nil {
		return nil, err
	}
	rows, err := db.Query(ctx, statement, args...)
	return rows, s.onPod(ordinal, err)
}

func (s *Set) onPod(ordinal int, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", s.Pod(ordinal).Name, err)
	}
	return nil
}

// GTIDExecuted returns a Pod's gtid_executed.
func (s *Set) GTIDExecuted(ctx context.Context, ordinal int) (mysqlx.GTIDSet, error) {
	rows, err := s.Query(ctx, ordinal, "SELECT @@GLOBAL.gtid_executed")
	if err != nil {
		return mysqlx.GTIDSet{}, err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return mysqlx.GTIDSet{}, fmt.Errorf("%s: no gtid_executed", s.Pod(ordinal).Name)
	}
	return mysqlx.ParseGTIDSet(strings.TrimSpace(rows[0][0]))
}
