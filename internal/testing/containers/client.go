package containers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
	"ordinal/mysqlx"
)

// Nothing stays open between two questions, and no proxy of the machine is asked.
var client = &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func get(ctx context.Context, url string) (code int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return resp.StatusCode, body, err
}

// Status asks a Pod what it says about itself, during agent init or agent run.
func (c *Cluster) Status(ctx context.Context, ordinal int) (localset.Status, error) {
	var st localset.Status
	p := c.Pod(ordinal)
	if p == nil {
		return st, fmt.Errorf("there is no %s", c.Name(ordinal))
	}
	code, body, err := get(ctx, "http://"+net.JoinHostPort(p.Address(), strconv.Itoa(localset.StatusPort))+"/v1/status")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("answer %d: %.200s", code, body)
	}
	if err == nil {
		err = json.Unmarshal(body, &st)
	}
	if err != nil {
		return localset.Status{}, fmt.Errorf("status of %s: %w", p.Name, err)
	}
	return st, nil
}

// SetStatus is what `agent status --json` prints.
type SetStatus struct {
	Ready bool `json:"ready"`
	Pods  []struct {
		Pod    string           `json:"pod"`
		Role   string           `json:"role"`
		Answer string           `json:"answer"`
		Status *localset.Status `json:"status"`
	} `json:"pods"`
}

// AgentStatus runs `agent status --json` in a Pod's agent, as the documentation tells an operator to, and returns its exit code too.
func (c *Cluster) AgentStatus(ctx context.Context, in int) (st SetStatus, code int, err error) {
	p := c.Pod(in)
	if p == nil {
		return st, -1, fmt.Errorf("there is no %s", c.Name(in))
	}
	out, code, said := p.Exec(ctx, "agent", "/agent", "status", "--json")
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		return st, code, errors.Join(err, said)
	}
	return st, code, nil
}

// DB returns root's connections to a Pod's mysqld, by the socket in the Pod's volume: root may log in inside the Pod only. They survive the
// server's restarts and the Pod's lives, and are closed with the cluster.
func (c *Cluster) DB(ordinal int) (*mysqlx.DB, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if db := c.dbs[ordinal]; db != nil {
		return db, nil
	}
	db, err := mysqlx.Open(mysqlx.Endpoint{
		Address:     filepath.Join(c.options.Dir, c.Name(ordinal), "volumes", "socket", "mysqld.sock"),
		Credentials: mysqlx.Credentials{User: "root", Password: mysqlx.FixedPassword(c.options.Overlay.RootPassword)},
		ReadTimeout: time.Minute,
	})
	if err == nil {
		c.dbs[ordinal] = db
	}
	return db, err
}

// Exec runs one statement on a Pod as root. args stand for its ? placeholders.
func (c *Cluster) Exec(ctx context.Context, ordinal int, statement string, args ...any) error {
	db, err := c.DB(ordinal)
	if err == nil {
		err = db.Exec(ctx, statement, args...)
	}
	return c.on(ordinal, err)
}

// Query returns all rows of one statement on a Pod, as text.
func (c *Cluster) Query(ctx context.Context, ordinal int, statement string, args ...any) ([][]string, error) {
	db, err := c.DB(ordinal)
	if err != nil {
		return nil, err
	}
	rows, err := db.Query(ctx, statement, args...)
	return rows, c.on(ordinal, err)
}

func (c *Cluster) on(ordinal int, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name(ordinal), err)
	}
	return nil
}

// GTIDExecuted returns a Pod's gtid_executed.
func (c *Cluster) GTIDExecuted(ctx context.Context, ordinal int) (mysqlx.GTIDSet, error) {
	rows, err := c.Query(ctx, ordinal, "SELECT @@GLOBAL.gtid_executed")
	if err != nil {
		return mysqlx.GTIDSet{}, err
	}
	return mysqlx.ParseGTIDSet(rows[0][0])
}

// WaitReady waits until Services may lead to some Pods, or to all of the set if none is named.
func (c *Cluster) WaitReady(ctx context.Context, ordinals ...int) error {
	if len(ordinals) == 0 {
		for ordinal := range c.Replicas() {
			ordinals = append(ordinals, ordinal)
		}
	}
	for _, ordinal := range ordinals {
		err := c.poll(ctx, "wait until "+c.Name(ordinal)+" is ready", func() error {
			if p := c.Pod(ordinal); p != nil && p.Ready() {
				return nil
			}
			st, err := c.Status(ctx, ordinal)
			if err == nil {
				err = errors.New(st.Explain())
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// WaitConverged waits until every replica's gtid_executed equals the source's. Stop the load first.
func (c *Cluster) WaitConverged(ctx context.Context) error {
	return c.poll(ctx, "wait for equal gtid_executed", func() error {
		for ordinal := 1; ordinal < c.Replicas(); ordinal++ {
			replica, err := c.GTIDExecuted(ctx, ordinal)
			if err != nil {
				return err
			}
			source, err := c.GTIDExecuted(ctx, 0) // read last: a replica holds nothing that the source does not hold by then
			if err != nil {
				return err
			}
			if !replica.Equal(source) {
				return fmt.Errorf("%s lacks %q and has %q that the source does not have",
					c.Name(ordinal), source.Subtract(replica), replica.Subtract(source))
			}
		}
		return nil
	})
}

// CompareTables compares CHECKSUM TABLE of all user tables of all Pods. It returns their number. Stop the load and WaitConverged first.
func (c *Cluster) CompareTables(ctx context.Context) (tables int, err error) {
	var want map[string]string
	for ordinal := range c.Replicas() {
		db, err := c.DB(ordinal)
		if err != nil {
			return 0, err
		}
		got, err := load.Checksums(ctx, db)
		if err != nil {
			return 0, c.on(ordinal, err)
		}
		if ordinal == 0 {
			want = got
		} else if !maps.Equal(got, want) {
			return 0, fmt.Errorf("%s has the checksums %v, the source %v", c.Name(ordinal), got, want)
		}
	}
	return len(want), nil
}
