package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"go.uber.org/zap"

	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// Replication that stopped is started again with growing pauses: an error that stays must not fill the log.
const (
	minStartPause = time.Second
	maxStartPause = 30 * time.Second
)

// actTimeout bounds one act. Stopping replication waits for the transaction being applied.
const actTimeout = 60 * time.Second

// do carries out what was decided. Every act may be repeated.
func (r *runner) do(ctx context.Context, what act, v view) error {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	db := r.db
	if v.Mysqld.AsRoot {
		db = r.root
	}
	switch what {
	case actConfigure:
		_, err := r.config().write(r.cfg.MySQLConfigDir)
		return err
	case actStartOver:
		return r.startOver(ctx, v)
	case actFinishFirst:
		return r.finishFirst(ctx, v)
	case actAccounts:
		return r.createAccounts(ctx, v)
	case actLetIn:
		return db.SetOfflineMode(ctx, false)
	case actOpen:
		return db.SetSuperReadOnly(ctx, false)
	case actClose:
		return db.SetSuperReadOnly(ctx, true)
	case actStop:
		return db.StopReplica(ctx)
	case actResetChannels:
		return r.resetChannels(ctx, db, v)
	case actFollow:
		return r.follow(ctx, v)
	case actStart:
		r.pauseStarts()
		return r.db.StartReplica(ctx)
	}
	return fmt.Errorf("no such act: %q", what)
}

// finishFirst ends the image's first initialisation: the accounts, which make the data this cluster's, then the durable mark
// without which it would be put aside at the next start, then the configuration of a server that has data. Users are let in
// after that.
func (r *runner) finishFirst(ctx context.Context, v view) error {
	if err := r.createAccounts(ctx, v); err != nil {
		return err
	}
	facts, err := r.db.Facts(ctx)
	if err != nil {
		return err
	}
	cluster, err := r.db.ClusterID(ctx)
	if err != nil {
		return err
	}
	if err := r.vol.SetIdentity(volume.Identity{ClusterID: cluster, Pod: r.id.Pod, ServerUUID: facts.ServerUUID}); err != nil {
		return err
	}
	err = r.vol.MarkInitialised(ctx, v.Generation, volume.Facts{
		ClusterID: cluster, GTIDExecuted: facts.GTIDExecuted.String(), ServerVersion: facts.Version,
	})
	if err != nil {
		return err
	}
	_, err = r.config().write(r.cfg.MySQLConfigDir)
	return err
}

// createAccounts makes the cluster's accounts, and with them its identity if it has none yet.
func (r *runner) createAccounts(ctx context.Context, v view) error {
	if r.root == nil {
		return fmt.Errorf("create the accounts: root's password is needed for that once: give --root-password-file")
	}
	cluster := v.ClusterID
	if cluster == "" {
		id := make([]byte, 8)
		rand.Read(id)
		cluster = hex.EncodeToString(id)
	}
	err := r.root.CreateAccounts(ctx, mysqlx.AccountSpec{
		ClusterID: cluster, AgentPassword: r.keys.AgentPassword(), ReplicationPassword: r.keys.ReplicationPassword(cluster),
	})
	if err == nil {
		r.log.Info("created the accounts", zap.String("cluster_id", cluster))
	}
	return err
}

// startOver puts a first initialisation that was cut short aside and points mysqld at an empty directory. A server that runs
// on the old one is ended; whoever restarts it finds the new one.
func (r *runner) startOver(ctx context.Context, v view) error {
	where, err := r.vol.StartOver(ctx, v.Generation, string(CodeInterruptedFirstStart))
	if err != nil {
		return err
	}
	r.log.Warn("the first initialisation was interrupted: put aside, it starts over", zap.String("quarantine", where))
	r.idleSince = time.Time{}
	switch {
	case v.Mysqld.Bare:
		return r.bare.Shutdown(ctx)
	case v.Mysqld.CutShort && r.root != nil:
		return r.root.Shutdown(ctx)
	}
	return nil
}

// resetChannels forgets every channel. On a replica it then notes that this server has been set up, so that it happens once.
func (r *runner) resetChannels(ctx context.Context, db *mysqlx.DB, v view) error {
	if len(v.Channels) > 0 {
		if err := db.StopReplica(ctx); err != nil {
			return err
		}
		if err := db.ResetReplicaAll(ctx); err != nil {
			return err
		}
		r.log.Info("forgot replication channels that came with the data", zap.Int("channels", len(v.Channels)))
	}
	return r.vol.SetIdentity(volume.Identity{ClusterID: v.ClusterID, Pod: r.id.Pod, ServerUUID: v.Mysqld.Facts.ServerUUID})
}

// follow points the channel at the source and starts it.
func (r *runner) follow(ctx context.Context, v view) error {
	r.pauseStarts()
	if len(v.Channels) > 0 {
		if err := r.db.StopReplica(ctx); err != nil {
			return err
		}
		if len(v.Channels) > 1 || v.Channels[0].Channel != "" {
			if err := r.db.ResetReplicaAll(ctx); err != nil {
				return err
			}
		}
	}
	want := v.Want
	want.Password = r.keys.ReplicationPassword(v.ClusterID)
	if err := r.db.ConfigureSource(ctx, want); err != nil {
		return err
	}
	r.log.Info("following the source", zap.String("source", v.Source.Pod), zap.String("host", want.Host))
	return r.db.StartReplica(ctx)
}

// pauseStarts makes the next start wait, longer each time.
func (r *runner) pauseStarts() {
	r.startPause = min(max(2*r.startPause, minStartPause), maxStartPause)
	r.startAfter = r.now().Add(r.startPause)
}
