package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
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

// switchEvery is how often is looked whether a mysqld that was told to end has let go of its data.
const switchEvery = 50 * time.Millisecond

// actTimeout bounds one act. Stopping replication waits for the transaction being applied, and a server that ends with half a transaction received
// waits 60 s for the rest.
const actTimeout = 90 * time.Second

// do carries out what was decided. Every act may be repeated.
func (r *runner) do(ctx context.Context, d verdict, v view) error {
	if d.Do == actRebuild {
		r.startRebuild(ctx, *d.Cause, v.Generation) // goes on when this turn is over
		return nil
	}
	if d.Do == actReplay {
		r.startReplay(ctx)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	db := r.db
	if v.Mysqld.AsRoot {
		db = r.root
	}
	switch d.Do {
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
		return db.StopReceiver(ctx)
	case actHalt:
		return db.StopReplica(ctx)
	case actApply:
		r.pauseStarts()
		return db.StartApplier(ctx)
	case actResetChannels:
		return r.resetChannels(ctx, db, v)
	case actServerID:
		return db.SetServerID(ctx, v.ServerID)
	case actFollow:
		return r.follow(ctx, d.Follow, v)
	case actCatchUp:
		return r.catchUp(ctx, d.Follow, v)
	case actNewUUID:
		return r.newUUID(ctx, db, v)
	case actSwitch:
		return r.switchOver(ctx, db, v)
	case actDropSpare:
		r.log.Warn("room is short: removing data in quarantine of which every transaction is in service", zap.String("quarantine", d.Spare))
		return r.dropSpare(ctx, d.Spare, v)
	case actExport:
		return r.exportErrant(ctx, v.Lasting, v.Older)
	case actAnswer:
		return r.answerRequest(ctx, v)
	case actRetire:
		return r.retire(ctx, v)
	case actDropRebuild:
		return r.dropRebuild(ctx)
	case actRotate:
		return r.rotate(ctx, v)
	case actDiscard:
		return r.discard(ctx)
	case actChannelPassword:
		return r.channelPassword(ctx, v)
	case actSettle:
		return r.settle(ctx)
	case actSemisync:
		return db.SetSemiSyncSource(ctx, v.Semisync.Wanted)
	case actStart:
		r.pauseStarts()
		return r.db.StartReplica(ctx)
	}
	return fmt.Errorf("no such act: %q", d.Do)
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
		ClusterID: cluster, AgentPassword: r.keys.Current().AgentPassword(), ReplicationPassword: r.keys.Current().ReplicationPassword(cluster),
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
	r.idleSince, r.opened, r.inUse = time.Time{}, 0, false
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
		r.log.Info("forgot replication channels", zap.Int("channels", len(v.Channels)))
	}
	if v.Mysqld.Facts.ServerID != v.ServerID {
		if err := db.SetServerID(ctx, v.ServerID); err != nil {
			return err
		}
	}
	return r.vol.SetIdentity(volume.Identity{ClusterID: v.ClusterID, Pod: r.id.Pod, ServerUUID: v.Mysqld.Facts.ServerUUID})
}

// follow points the channel at a source and starts it.
func (r *runner) follow(ctx context.Context, want mysqlx.Source, v view) error {
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
	want.Password = r.passwords.replication(v.ClusterID)
	r.channelHas = r.passwords.inUse()
	if err := r.db.ConfigureSource(ctx, want); err != nil {
		return err
	}
	r.log.Info("following", zap.String("host", want.Host))
	return r.db.StartReplica(ctx)
}

// catchUp lets this source replicate from a sibling for a while. What it lacks was first executed on this very server, by its
// server_id: under that number it would skip all of it in silence. So it takes another one meanwhile. See refman/8.4
// replication-options-replica (replicate-same-server-id).
func (r *runner) catchUp(ctx context.Context, want mysqlx.Source, v view) error {
	if len(v.Channels) > 0 {
		if err := r.db.StopReplica(ctx); err != nil {
			return err
		}
		if err := r.db.ResetReplicaAll(ctx); err != nil {
			return err
		}
		v.Channels = nil
	}
	if err := r.db.SetServerID(ctx, catchUpServerID(v.ServerID)); err != nil {
		return err
	}
	return r.follow(ctx, want, v)
}

// catchUpServerID is a server_id that no pod of any set has: they end below 2³¹.
func catchUpServerID(own uint32) uint32 { return own | 1<<31 }

// newUUID makes mysqld take a new server_uuid, by a restart: it reads auto.cnf at its start only.
func (r *runner) newUUID(ctx context.Context, db *mysqlx.DB, v view) error {
	if err := r.vol.ForgetServerUUID(ctx, v.Generation); err != nil {
		return err
	}
	r.formerUUID = v.Mysqld.Facts.ServerUUID
	return db.Shutdown(ctx)
}

// switchOver puts the new copy in the place of the old one. As long as mysqld works on that one it cannot: it is ended, and who
// supervises it starts it again, on the new copy.
func (r *runner) switchOver(ctx context.Context, db *mysqlx.DB, v view) error {
	err := r.vol.FinishSwitch()
	if !errors.Is(err, volume.ErrInUse) || v.Mysqld.Reach != mysqldUp {
		return err
	}
	r.log.Warn("ending mysqld: it starts again on the new copy", zap.Int("generation", v.Generation))
	if err := db.Shutdown(ctx); err != nil {
		return err
	}
	// A start in between is refused, and costs a kubelet's pause.
	tick := time.NewTicker(switchEvery)
	defer tick.Stop()
	for {
		if err := r.vol.FinishSwitch(); !errors.Is(err, volume.ErrInUse) {
			return err
		}
		r.beat.Beat()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for mysqld to end: %w", context.Cause(ctx))
		}
	}
}

// dropSpare makes room. What turns out to be the last copy of something is not looked at again.
func (r *runner) dropSpare(ctx context.Context, name string, v view) error {
	err := r.drop(ctx, name, false, v)
	if err != nil {
		r.kept = append(r.kept, name)
	}
	return err
}

// retire puts what was replaced into quarantine.
func (r *runner) retire(ctx context.Context, v view) error {
	names, err := r.vol.Retire(ctx)
	for _, name := range names {
		r.log.Warn("the replaced data is kept", zap.String("quarantine", name))
	}
	r.rebuild = nil
	if err == nil && v.Request != nil && v.Request.Kind == volume.RequestRebuild {
		err = r.vol.CloseRequest(v.Request.ID, "the pod has a new copy; the old data is in quarantine", false)
	}
	return err
}

// pauseStarts makes the next start wait, longer each time.
func (r *runner) pauseStarts() {
	r.startPause = min(max(2*r.startPause, minStartPause), maxStartPause)
	r.startAfter = r.now().Add(r.startPause)
}
