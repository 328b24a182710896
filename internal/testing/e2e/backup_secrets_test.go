package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"ordinal/internal/testing/localset"
	"ordinal/internal/testing/mysqltest"
)

// TestBackupSecrets: a set that archives into an S3 server, encrypted with a passphrase, and jobs that back it up, verify and restore it with a passphrase
// and with age. Every secret that they are given is looked for wherever something of it can be read: the command lines of all processes, logs, status, metrics, what
// commands print, and every object in the store. Keys of the store come from a file, as a Secret that is mounted does.
func TestBackupSecrets(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 5*time.Minute)
	const (
		cluster    = "planted-Backup+Secret/0123456789abcdefghij=="
		root       = `planted-root's "backup" \word`
		passphrase = `planted passphrase's "words" \for+backups/`
	)
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	server := newS3Server(t)
	at := server.url("shop")
	credentials := filepath.Join(t.TempDir(), "credentials")
	must(t, os.WriteFile(credentials, fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", s3Key, server.secret), 0o600))
	phrase, identities := keyFile(t, passphrase), keyFile(t, identity.String())

	s := localset.ForTest(t, localset.Options{
		Replicas: 2, Secret: cluster, RootPassword: root, Database: "shop",
		AgentArgs: func(int) []string {
			return []string{"--log-level=debug", "--passphrase-file=" + phrase, "--store=" + at}
		},
		Env: func(_ int, process localset.Process) []string {
			if process == localset.Mysqld {
				return nil
			}
			return []string{"AWS_SHARED_CREDENTIALS_FILE=" + credentials}
		},
	})
	keys := deriveKeys(t, cluster)
	sc := &scanner{t: t}
	sc.plant("cluster secret", cluster)
	sc.plant("root's password", root)
	sc.plant("the agent's password", keys.AgentPassword())
	sc.plant("the store's secret key", server.secret)
	sc.plant("passphrase", passphrase)
	sc.plant("age identity", identity.String())
	sc.plant("the key of seals", string(keys.BackupKey()))
	dir := shortDir(t)
	stop := sc.watchProcesses(ctx, "/") // of the whole machine: the jobs and the server that a verification starts are among them

	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1)"))
	must(t, s.WaitConverged(ctx))
	st := waitStatus(ctx, t, s, 0, "a cluster id", func(st localset.Status) bool { return st.ClusterID != "" })
	sc.plant("the replication password", keys.ReplicationPassword(st.ClusterID))

	x := newTool(t, s, at).with("AWS_SHARED_CREDENTIALS_FILE="+credentials, "AGENT_LOG_LEVEL=debug")
	byPhrase, byIdentity := x.with("AGENT_PASSPHRASE_FILE="+phrase), x.with("AGENT_IDENTITY_FILE="+identities)
	look := func(o outcome, code int) {
		t.Helper()
		if sc.scan("what a command prints", []byte(o.stdout+o.stderr)); o.code != code {
			t.Errorf("exit code %d, want %d\n%s", o.code, code, o.stderr)
		}
	}
	look(byPhrase.run(ctx, "backup"), 0)
	look(x.run(ctx, "backup", "--encrypt-to="+identity.Recipient().String()), 0)
	look(byIdentity.run(ctx, "verify", "--boot", "--scratch="+dir, "--mysqld="+mysqltest.Get(t).Script(t)), 0)
	look(x.run(ctx, "verify"), 84)
	look(byPhrase.with("AWS_SHARED_CREDENTIALS_FILE="+identities).run(ctx, "verify"), 77) // not what is in that file
	look(byPhrase.with("AGENT_IDENTITY_FILE="+credentials).run(ctx, "verify"), 78)
	look(byIdentity.run(ctx, "restore", "--into="+filepath.Join(dir, "into")), 0)
	waitArchived(ctx, t, s, executed(ctx, t, s, 0))
	look(byPhrase.run(ctx, "archive", "status", "--json"), 0)
	look(byPhrase.run(ctx, "binlog", "find", "--table", "shop.t", "--json"), 0)
	look(x.run(ctx, "backups", "list", "--json"), 0)
	for ordinal := range 2 {
		sc.scanStatusPlane(ctx, s.Pod(ordinal).Host)
		sc.scan("data plane", peerAnswer(ctx, t, s, keys, ordinal))
	}
	stop()
	look(byPhrase.with("AGENT_ENCRYPT_TO="+identity.String()).run(ctx, "backup"), 2) // its environment does show it

	kinds := map[string]int{}
	for _, o := range objects(t, at, "") {
		sc.scan(o.name+" in the store", o.content)
		kind, _, below := strings.Cut(o.name, "/")
		kinds[kind]++
		if below {
			kinds[filepath.Base(o.name)]++
		}
	}
	if kinds["backups"] < 6 || kinds["archive"] < 2 || kinds["manifest.json"] != 2 || kinds[".ordinal"] != 1 {
		t.Errorf("objects in the store by kind: %v", kinds)
	}
	files := sc.scanFiles(filepath.Dir(s.SecretFile()), func(path string) bool {
		return path == s.SecretFile() || path == s.RootPasswordFile() || filepath.Base(filepath.Dir(path)) == "volume" && filepath.Base(path) == "gen"
	})
	t.Logf("looked at %d things, %d processes and %d files of the set among them", sc.looked, sc.processes, len(files))
	if sc.processes < 15 || sc.looked < 60 {
		t.Error("that is too few to be all")
	}
	sc.mustFindWhatIsThere()
	x.mustHaveLeftNothing()
}
