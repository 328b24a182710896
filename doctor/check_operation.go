package doctor

import (
	"errors"
	"fmt"
	"strconv"

	"ordinal/backup/store"
)

const (
	// agentMemory is what an agent may need, in bytes: see docs/requirements.md.
	agentMemory = 64 << 20
	fewFiles    = 1024
)

// operationChecks are about stores, and limits of the machine.
func operationChecks() []Check {
	return []Check{
		{
			ID: "store", Title: "the store of the backups can be read and is this set's",
			Why:    "binlogs are not archived and backups fail, which nobody notices until one is needed",
			Remedy: "See what the store says: name and region of the bucket, credentials, the machine's clock, a mounted directory. Each set has a prefix of its own.",
			judge:  judgeStore,
		},
		{
			ID: "restore-from", Title: "what an empty source is restored from can be read",
			Why:    "an empty source does not start without it",
			Remedy: "As for `store`: the place that `--restore-from` names.",
			judge:  judgeRestore,
		},
		{
			ID: "backup-keys", Title: "the keys of the backups can be read",
			Why:    "without them nothing is archived, backed up or restored",
			Remedy: "Mount the files that `--passphrase-file` and `--identity-file` name; check the recipients of `--encrypt-to`.",
			judge:  judgeKeys,
		},
		{
			ID: "memory", Title: "the agent may have the memory that it needs",
			Why:    "the kernel kills it in the middle of a copy, which then starts over",
			Remedy: "`resources: {limits: {memory: 128Mi}}` for init and agent.",
			judge:  judgeMemory,
		},
		{
			ID: "buffer-pool", Title: "mysqld's buffer pool fits into the machine",
			Why:    "the kernel kills mysqld when it uses what it was promised",
			Remedy: "Set `innodb_buffer_pool_size` to at most three quarters of the memory that mysqld's container may have.",
			judge:  judgeBufferPool,
		},
		{
			ID: "open-files", Title: "enough files may be open",
			Why:    "a copy that reads the files itself takes a descriptor for each; with few the server has to send them",
			Remedy: "Raise the limit: `ulimit -n`, `LimitNOFILE=` of a systemd unit, `ulimits:` in Compose.",
			judge:  judgeFiles,
		},
	}
}

func judgeStore(e *exam) finding {
	if !e.store.known() {
		return fault("the store does not answer: "+e.store.err.Error(), storeFix(store.ErrUnavailable))
	}
	p := e.store.it
	if !p.asked {
		if e.cfg.Backups.KeepBinlogs > 0 {
			return risk("--keep-binlogs is given and --store is not: nothing is archived", "env:\n- {name: AGENT_STORE, value: \"s3://bucket/prefix?endpoint=…\"}")
		}
		return unseen("no --store is given: nothing is archived")
	}
	if found, bad := badPlace(p); bad {
		return found
	}
	if set := e.id.Base; !p.empty && set != "" && p.marker.Set != set {
		return fault(fmt.Sprintf("the store belongs to the set %q, and this one is %q", p.marker.Set, set), "give each set a place of its own: another prefix in --store")
	}
	if own := e.clusterID(); !p.empty && own != "" && p.marker.Cluster != own {
		return fault(fmt.Sprintf("the store belongs to the cluster %q, and this pod's data is of %q", p.marker.Cluster, own), "give the new cluster a place of its own: another prefix in --store; the former one's backups stay where they are")
	}
	return ok()
}

func judgeRestore(e *exam) finding {
	if !e.restore.known() {
		return fault("the store to restore from does not answer: "+e.restore.err.Error(), storeFix(store.ErrUnavailable))
	}
	p := e.restore.it
	if !p.asked {
		return unseen("no --restore-from is given")
	}
	if found, bad := badPlace(p); bad {
		return found
	}
	if p.empty {
		return risk("nobody has ever made a backup in "+e.cfg.Backups.RestoreFrom, "agent backups # with --store; is the prefix the right one?")
	}
	return ok()
}

// badPlace judges a store that cannot be used.
func badPlace(p place) (finding, bool) {
	if p.err == nil {
		return ok(), false
	}
	fix := storeFix(p.err)
	var hint interface{ Hint() string }
	if errors.As(p.err, &hint) && hint.Hint() != "" {
		fix = hint.Hint()
	}
	return fault(p.err.Error(), fix), true
}

func storeFix(err error) string {
	switch {
	case errors.Is(err, store.ErrPermission):
		return "give these credentials the right to get, put, list and delete there; of a directory: chown 999 and fsGroup: 999"
	case errors.Is(err, store.ErrNoPlace):
		return "make the bucket or mount the directory; check its name"
	case errors.Is(err, store.ErrUnavailable):
		return "check endpoint and region in the URL, and let a NetworkPolicy of these pods allow egress to it"
	}
	return "check the URL of --store"
}

func judgeKeys(e *exam) finding {
	switch {
	case errors.Is(e.keys.err, errNotAsked):
		return unseen("no --store and no --restore-from is given")
	case e.keys.err != nil:
		fix := "mount the Secret with that file, readable for uid " + strconv.Itoa(e.uid())
		var hint interface{ Hint() string }
		if errors.As(e.keys.err, &hint) && hint.Hint() != "" {
			fix = hint.Hint()
		}
		return fault(e.keys.err.Error(), fix)
	}
	return ok()
}

func judgeMemory(e *exam) finding {
	if !e.machine.known() {
		return e.machine.unseen()
	}
	switch limit := e.machine.it.memory; {
	case limit == 0:
		return ok() // no limit of its own
	case limit < agentMemory:
		return risk(fmt.Sprintf("this container may have %s of memory, and the agent needs up to %s", mebibytes(limit), mebibytes(agentMemory)), "resources: {limits: {memory: 128Mi}} # of init and agent")
	}
	return ok()
}

func judgeBufferPool(e *exam) finding {
	s, found := e.sql()
	if !s.up {
		return found
	}
	pool, err := strconv.ParseUint(s.values["innodb_buffer_pool_size"], 10, 64)
	if err != nil || !e.machine.known() || e.machine.it.total == 0 {
		return unseen("buffer pool or memory are not known")
	}
	if total := e.machine.it.total; pool > total/10*9 {
		return fault(fmt.Sprintf("innodb_buffer_pool_size is %s, and the machine has %s of memory%s", mebibytes(pool), mebibytes(total), e.setBy(s, "innodb_buffer_pool_size")),
			fmt.Sprintf("SET PERSIST innodb_buffer_pool_size = %d; # or less: of mysqld's container three quarters", total/4*3>>20<<20))
	}
	return ok()
}

// mebibytes is memory as manifests have it.
func mebibytes(n uint64) string { return fmt.Sprintf("%d MiB", n>>20) }

func judgeFiles(e *exam) finding {
	if !e.machine.known() {
		return e.machine.unseen()
	}
	if n := e.machine.it.files; n < fewFiles {
		return risk(fmt.Sprintf("this process may have %d files open", n), "ulimit -n 65536 # before it is started; LimitNOFILE=65536 in a unit; ulimits: {nofile: 65536} in Compose")
	}
	return ok()
}
