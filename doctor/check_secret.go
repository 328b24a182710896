package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"ordinal/agent"
	"ordinal/internal/trust"
	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// secretChecks are about the cluster secret and root's password.
func secretChecks() []Check {
	return []Check{
		{
			ID: "secret", Title: "the cluster secret can be read and is long enough",
			Why:    "without it the agent does not start: certificates and passwords come from it",
			Remedy: "`head -c 32 /dev/urandom | base64 > FILE`, the same file in every pod, readable for the agent's user.",
			judge:  judgeSecret,
		},
		{
			ID: "secret-mode", Title: "nobody else can read the cluster secret",
			Why:    "whoever reads it can take a copy of all data",
			Remedy: "`chmod 0440` and the agent's group; for a mounted Secret `defaultMode: 0440`.",
			after:  []string{"secret"},
			judge:  judgeSecretMode,
		},
		{
			ID: "peer-secret", Title: "the other pods have the same cluster secret",
			Why:    "pods with another secret are strangers: they get no copy and give none",
			Remedy: "Mount the same Secret into every pod of the set, and restart those that have read another one.",
			after:  []string{"secret"},
			judge:  judgePeerSecret,
		},
		{
			ID: "root-password", Title: "root's password can be read and is right",
			Why:    "the agent needs it to create its accounts, and to give them new passwords when the secret changes",
			Remedy: "Give the agent the same file as the image: `AGENT_ROOT_PASSWORD_FILE` or `MYSQL_ROOT_PASSWORD_FILE`. The image reads its own only when it initialises: a password that was changed in the server has to be changed in the file.",
			judge:  judgeRootPassword,
		},
		{
			ID: "agent-account", Title: "mysqld lets the agent's account in",
			Why:    "without it the agent can neither see nor do anything in this server",
			Remedy: "Mount the cluster secret that the set was made with. An account that was dropped comes back when the agent has root's password.",
			after:  []string{"secret", "peer-secret"},
			judge:  judgeAgentAccount,
		},
	}
}

func judgeSecret(e *exam) finding {
	if !e.secret.known() {
		return e.secret.unseen()
	}
	err := e.secret.it.err
	var bad *trust.SecretError
	switch {
	case err == nil:
		return ok()
	case errors.Is(err, errNoSecret):
		return fault("--secret-file is not given", "env:\n- {name: AGENT_SECRET_FILE, value: /run/secrets/ordinal/cluster-secret}\nand mount there: kubectl create secret generic mysql-secrets --from-literal=cluster-secret=\"$(head -c 32 /dev/urandom | base64)\"")
	case errors.As(err, &bad) && errors.Is(err, fs.ErrNotExist):
		return fault(err.Error(), "mount the Secret with the key cluster-secret there, or make one: "+strings.TrimPrefix(bad.Hint(), "make one, and give the same to every pod: "))
	case errors.As(err, &bad):
		return fault(err.Error(), bad.Hint())
	}
	return fault(err.Error(), "name a regular file with --secret-file")
}

func judgeSecretMode(e *exam) finding {
	s := e.secret.it
	switch {
	case !e.secret.known() || s.err != nil:
		return unseen("see secret")
	case s.mode&0o004 == 0 || s.tmpfs: // in a mounted Secret there are no others
		return ok()
	}
	return risk(fmt.Sprintf("every user of this machine can read %s (mode %04o)", e.cfg.SecretFile, s.mode.Perm()),
		fmt.Sprintf("chown %d %s; chmod 0400 %s", e.uid(), e.cfg.SecretFile, e.cfg.SecretFile))
}

// uid is the user that runs this; 999 where that is not known.
func (e *exam) uid() int {
	if e.machine.known() {
		return e.machine.it.uid
	}
	return 999
}

func judgeRootPassword(e *exam) finding {
	s := e.secret.it
	if !e.secret.known() {
		return e.secret.unseen()
	}
	sv := e.server.it
	works := e.server.known() && sv.err == nil
	if !s.root {
		if works {
			return ok() // nobody needs it now
		}
		return unseen("none is given; it is needed when accounts are created")
	}
	if s.rootErr != nil {
		return fault(s.rootErr.Error(), rootFile+fmt.Sprintf("\nand let uid %d read it: fsGroup: 999 with defaultMode: 0440", e.uid()))
	}
	tail := ""
	if trimmed := strings.TrimRight(s.password, " \t\r\n"); trimmed != s.password {
		tail = "; it ends in white space that is no newline, a carriage return perhaps, which counts"
	}
	switch {
	case !e.server.known() || !sv.rootTried:
		if tail != "" {
			return risk("the password is there"+tail, "printf %s \"$PASSWORD\" > FILE # without anything behind it")
		}
		return unseen("it can be read; there is no mysqld to try it on")
	case sv.root == nil:
		return ok()
	case mysqlx.IsAccessDenied(sv.root):
		what := "mysqld refuses root with this password (1045)" + tail
		fix := "put the password that root has into the file; or give root this one: ALTER USER 'root'@'localhost' IDENTIFIED BY '…';"
		if works {
			return risk(what+"; the agent's own account works", fix)
		}
		return fault(what, fix)
	}
	return unseen("mysqld does not answer root: " + sv.root.Error())
}

const rootFile = "env:\n- {name: AGENT_ROOT_PASSWORD_FILE, value: /run/secrets/mysql/root-password} # the file that the image gets as MYSQL_ROOT_PASSWORD_FILE"

// complete reports whether the volume holds data that was once complete: else a server is the image's first initialisation.
func (e *exam) complete() bool {
	v := e.volume
	return v.known() && v.it.content != nil && v.it.content.Kind == volume.Complete
}

func judgeAgentAccount(e *exam) finding {
	sv := e.server.it
	switch {
	case !e.server.known():
		return e.server.unseen()
	case sv.err == nil:
		return ok()
	case !mysqlx.IsAccessDenied(sv.err):
		return unseen("see mysqld")
	case !e.complete():
		return unseen("the accounts are created when the first initialisation is complete")
	case e.wrong["root-password"]:
		return unseen("see root-password")
	}
	what := "mysqld refuses " + mysqlx.AgentAccount + " with the password that comes from this cluster secret"
	fix := "mount the cluster secret that the set was made with; was it replaced, put the former one beside it as " + e.cfg.SecretFile + trust.PreviousSuffix
	if sv.root == nil && sv.rootTried && sv.clusterID == "" && e.id.Role() == agent.RoleSource {
		return risk(what+"; there is no replication account either: the accounts have not been created yet", "wait for agent run, which creates them; if it does not: kubectl logs -c agent")
	}
	if !sv.rootTried {
		fix += "\nif the accounts were never made, the agent needs root's password:\n" + rootFile
	}
	return fault(what, fix)
}
