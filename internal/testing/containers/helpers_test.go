package containers

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/images"
	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
	"ordinal/mysqlx"
)

// overlay is what a user writes who has a directory for backups, little memory, and wants to know of lag soon. A test waits for AGENT_MAX_LAG and for
// a client of mysqld to notice that nobody answers.
const overlay = `
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../base, ../../secrets]
components: [../../components/backup]
images:
  - {name: ordinal-agent, newName: %[1]s}
  - {name: mysql, newName: %[2]s}
patches:
  - patch: |
      apiVersion: v1
      kind: ConfigMap
      metadata: {name: mysql-store}
      data: {url: "file:///backups"}
  - patch: |
      apiVersion: apps/v1
      kind: StatefulSet
      metadata: {name: mysql}
      spec:
        template:
          spec:
            initContainers:
              - name: init
                env: [{name: AGENT_MAX_LAG, value: 3s}]
                volumeMounts: [{name: backups, mountPath: /backups}]
              - name: agent
                env: [{name: AGENT_MAX_LAG, value: 3s}]
                volumeMounts: [{name: backups, mountPath: /backups}]
            containers:
              - name: mysql
                args: [--innodb-buffer-pool-size=64M, --innodb-redo-log-capacity=16M]
            volumes: [{name: backups, persistentVolumeClaim: {claimName: backups}}]
  - target: {kind: CronJob}
    patch: |
      - {op: add, path: /spec/jobTemplate/spec/template/spec/containers/0/volumeMounts/-, value: {name: backups, mountPath: /backups}}
      - {op: add, path: /spec/jobTemplate/spec/template/spec/volumes/-, value: {name: backups, persistentVolumeClaim: {claimName: backups}}}
`

// newCluster makes a cluster that is taken away at the test's end.
func newCluster(ctx context.Context, t *testing.T, name string, volumeSize int64) *Cluster {
	t.Helper()
	images.Need(t)
	server, err := images.MySQL(ctx)
	must(t, err)
	agent, err := images.Agent(ctx)
	must(t, err)
	dir, err := os.MkdirTemp("", name)
	must(t, err)
	c, err := New(Options{
		Dir: dir, Name: name, Pause: server, VolumeSize: volumeSize,
		Overlay: Overlay{
			Kustomization: kustomization(agent, server),
			ClusterSecret: random(), RootPassword: random(),
		},
	})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Logs(40))
		} else if testing.Verbose() {
			t.Log(c.Happened())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		must(t, os.RemoveAll(dir))
	})
	_, err = c.bind("backups", 0)
	must(t, err)
	return c
}

func kustomization(agent, server string) string {
	split := func(ref string) string { // kustomize has name and tag apart
		i := strings.LastIndex(ref, ":")
		return ref[:i] + `, newTag: "` + ref[i+1:] + `"`
	}
	return fmt.Sprintf(overlay, split(agent), split(server))
}

func random() string {
	text := make([]byte, 36)
	_, _ = rand.Read(text) // never returns an error
	return base64.StdEncoding.EncodeToString(text)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// withDeadline bounds a scenario: what takes longer hangs.
func withDeadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until something holds.
func (c *Cluster) eventually(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	must(t, c.poll(ctx, what, func() error {
		if ok() {
			return nil
		}
		return fmt.Errorf("not yet")
	}))
}

// waitStatus waits until a Pod says something.
func (c *Cluster) waitStatus(ctx context.Context, t *testing.T, ordinal int, what string, ok func(localset.Status) bool) (st localset.Status) {
	t.Helper()
	must(t, c.poll(ctx, "wait for "+what, func() (err error) {
		if st, err = c.Status(ctx, ordinal); err == nil && !ok(st) {
			err = fmt.Errorf("%s says: %s", st.Pod, st.Explain())
		}
		return err
	}))
	return st
}

func has(st localset.Status, code string) bool {
	return slices.ContainsFunc(st.Reasons, func(r localset.Reason) bool { return r.Code == code })
}

// one returns the only value of a query's only row.
func (c *Cluster) one(ctx context.Context, t *testing.T, ordinal int, query string, args ...any) string {
	t.Helper()
	rows, err := c.Query(ctx, ordinal, query, args...)
	must(t, err)
	if len(rows) != 1 || len(rows[0]) != 1 {
		t.Fatalf("%s: %v", query, rows)
	}
	return rows[0][0]
}

// app is the account that the load writes with: root may not log in from outside of the Pod.
var app = mysqlx.Credentials{User: "app", Password: mysqlx.FixedPassword("the-application's")}

func (c *Cluster) createApp(ctx context.Context, t *testing.T) {
	t.Helper()
	must(t, c.Exec(ctx, 0, "CREATE USER app IDENTIFIED BY 'the-application''s' REQUIRE SSL"))
	must(t, c.Exec(ctx, 0, "GRANT ALL ON bank.* TO app"))
}

// startLoad writes through the write Service, as an application does, until the function that it returns is called. That one checks that the
// source has everything that was acknowledged.
func (c *Cluster) startLoad(ctx context.Context, t *testing.T) (l *load.Load, stop func()) {
	t.Helper()
	l = load.New(load.Options{
		Connections: 2, Accounts: 100, Pause: 20 * time.Millisecond,
		Endpoint: mysqlx.Endpoint{
			Address: c.Service("mysql-write").Address(), Credentials: app,
			TLS: &tls.Config{InsecureSkipVerify: true}, ReadTimeout: 3 * time.Second, // the server's certificate is its own
		},
	})
	must(t, c.poll(ctx, "prepare the load", func() error { return l.Prepare(ctx) }))
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- l.Run(running) }()
	c.moreWrites(ctx, t, l)
	return l, func() {
		t.Helper()
		cancel()
		must(t, <-done)
		db, err := c.DB(0)
		must(t, err)
		must(t, l.CheckNothingLost(ctx, db))
	}
}

// moreWrites waits until some more transfers are acknowledged: writes go on.
func (c *Cluster) moreWrites(ctx context.Context, t *testing.T, l *load.Load) {
	t.Helper()
	goal := l.Stats().Acked + 20
	must(t, c.poll(ctx, "wait for writes", func() error {
		s := l.Stats()
		if s.Acked < goal {
			return fmt.Errorf("%d transfers are missing: %w", goal-s.Acked, s.LastError)
		}
		return nil
	}))
}

// settled ends every scenario: all Pods are ready by their own word and by the kubelet's, hold the same rows, and replicas take no writes.
func (c *Cluster) settled(ctx context.Context, t *testing.T) {
	t.Helper()
	must(t, c.WaitReady(ctx))
	must(t, c.WaitConverged(ctx))
	tables, err := c.CompareTables(ctx)
	must(t, err)
	for ordinal := 1; ordinal < c.Replicas(); ordinal++ {
		if err := c.Exec(ctx, ordinal, "CREATE DATABASE a_replica_took_a_write"); !mysqlx.IsReadOnly(err) {
			t.Errorf("%s, a replica, does not reject a write: %v", c.Name(ordinal), err)
		}
	}
	st, code, err := c.AgentStatus(ctx, 0)
	must(t, err)
	if code != 0 || !st.Ready || len(st.Pods) != c.Replicas() {
		t.Errorf("agent status = %+v, exit code %d, want all ready and 0", st, code)
	}
	cluster := ""
	for _, p := range st.Pods {
		if cluster == "" {
			cluster = p.Status.ClusterID
		}
		if p.Status.ClusterID != cluster || cluster == "" {
			t.Errorf("%s is of cluster %q, another one of %q", p.Pod, p.Status.ClusterID, cluster)
		}
	}
	t.Logf("%d tables are equal on %d Pods", tables, c.Replicas())
}

// generation names the data directory that a Pod serves: another one after each clone, and on each volume.
func (c *Cluster) generation(t *testing.T, ordinal int) string {
	t.Helper()
	v := c.Volume(ordinal)
	target, err := os.Readlink(filepath.Join(v.Path(), "current"))
	must(t, err)
	return fmt.Sprintf("%s of volume %p", target, v)
}

// quarantined returns what a Pod has taken out of service.
func (c *Cluster) quarantined(ordinal int) []string { return c.Volume(ordinal).Glob("quarantine/*") }
