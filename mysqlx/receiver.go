package mysqlx

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrApplierStopped says that changing a channel would throw away what it received, because nobody applies it.
var ErrApplierStopped = errors.New("the applier is stopped, and what was received is not all applied")

// receiverRestart bounds the start that ends a change of the receiver, whatever has become of the caller's context.
const receiverRestart = 10 * time.Second

// RestartReceiver stops the receiver of the default channel and starts it again: it logs in to its source anew, and takes on settings
// such as SetSemiSyncReplica's. The applier goes on.
func (db *DB) RestartReceiver(ctx context.Context) error {
	s, err := db.statements(ctx)
	if err == nil {
		err = db.withoutReceiver(ctx, s, func() error { return nil })
	}
	if err != nil {
		return fmt.Errorf("restart receiver: %w", err)
	}
	return nil
}

// SetSourcePassword changes the password of the default channel and nothing else. The receiver is stopped for a moment, and is started
// in any case; the applier goes on. What was received and waits to be applied stays: with the applier stopped the server would throw
// it away, so the error is ErrApplierStopped then, and nothing has changed. The password is at most 32 bytes long. No error shows it.
// See refman/8.4 change-replication-source-to.
func (db *DB) SetSourcePassword(ctx context.Context, password string) error {
	if len(password) > maxSourcePassword || strings.ContainsAny(password, "\x00\n\r") {
		return fmt.Errorf("set source password: longer than %d characters, or with a line feed or zero byte", maxSourcePassword)
	}
	s, err := db.statements(ctx)
	if err == nil {
		err = db.withoutReceiver(ctx, s, func() error {
			// Asked when nothing more arrives.
			if err := db.keepsReceived(ctx); err != nil {
				return err
			}
			return db.Exec(ctx, s.changeSource+" "+s.optionPrefix+"PASSWORD = "+quoteString(password)+s.channel)
		})
	}
	if err != nil {
		return fmt.Errorf("set source password: %w", withoutSecrets(err, password))
	}
	return nil
}

// withoutReceiver does something while the receiver of the default channel is stopped.
func (db *DB) withoutReceiver(ctx context.Context, s statements, do func() error) error {
	if err := db.Exec(ctx, s.stop+s.receiver+s.channel); err != nil {
		return err
	}
	err := do()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), receiverRestart)
	defer cancel()
	return errors.Join(err, db.Exec(ctx, s.start+s.receiver+s.channel))
}

// keepsReceived returns ErrApplierStopped where a change of the default channel would drop unapplied relay logs.
func (db *DB) keepsReceived(ctx context.Context) error {
	all, err := db.channels(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Channel == "" && c.ApplierState != "ON" {
			facts, err := db.Facts(ctx)
			if err == nil && !facts.GTIDExecuted.Contains(c.RetrievedGTIDs) {
				err = ErrApplierStopped
			}
			return err
		}
	}
	return nil
}
