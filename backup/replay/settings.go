package replay

import (
	"context"
	"fmt"
	"strconv"

	"ordinal/mysqlx"
)

// takeSettings gives the server the settings of a replay, with a server_id that is not taken. Its own are noted first, unless a Run before this one did: ours
// are in force as long as the server has that server_id, for a restart brings back all of its own together.
func (n *run) takeSettings(ctx context.Context, taken map[uint32]bool) error {
	now, err := n.DB.ApplierSettings(ctx)
	if err != nil {
		return err
	}
	j := n.journal
	if inForce := len(j.Settings) > 0 && now[serverID] == idText(j.ServerID) && !taken[j.ServerID]; !inForce {
		own, err := strconv.ParseUint(now[serverID], 10, 32)
		if err != nil {
			return fmt.Errorf("server_id: %w", err)
		}
		j.Settings, j.ServerID = map[string]string{}, anotherID(uint32(own), taken)
	}
	want := n.wanted(now)
	for name := range want {
		if _, noted := j.Settings[name]; !noted {
			j.Settings[name] = now[name]
		}
	}
	if err := j.write(n.Journal); err != nil {
		return err
	}
	return n.DB.SetApplierSettings(ctx, want)
}

const serverID = "server_id"

func idText(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

// wanted are the settings of a replay, of those that the server has.
func (n *run) wanted(now map[string]string) map[string]string {
	workers := n.Workers
	if workers <= 0 {
		workers = DefaultWorkers
	}
	want := map[string]string{serverID: idText(n.journal.ServerID)}
	for setting, value := range map[mysqlx.ApplierSetting]string{
		mysqlx.ParallelWorkers: strconv.Itoa(workers),
		mysqlx.ParallelType:    "LOGICAL_CLOCK",
		// So that the binlog of this server has the transactions in their order.
		mysqlx.PreserveCommitOrder: "ON",
	} {
		if name, ok := setting.Of(now); ok && now[name] != value {
			want[name] = value
		}
	}
	return want
}

// restoreSettings gives the server its own settings back, if it still has ours.
func (n *run) restoreSettings(ctx context.Context) error {
	j := n.journal
	if len(j.Settings) == 0 {
		return nil
	}
	now, err := n.DB.ApplierSettings(ctx)
	if err != nil {
		return err
	}
	if now[serverID] == idText(j.ServerID) {
		if err := n.DB.SetApplierSettings(ctx, j.Settings); err != nil {
			return err
		}
	}
	j.Settings, j.ServerID = nil, 0
	return j.write(n.Journal)
}

// avoidServerIDs makes sure that the server has none of these: it would pass over whatever bears its own.
func (n *run) avoidServerIDs(ctx context.Context, taken map[uint32]bool) error {
	if !taken[n.journal.ServerID] {
		return nil
	}
	if err := n.restoreSettings(ctx); err != nil {
		return err
	}
	return n.takeSettings(ctx, taken)
}

// anotherID returns a server_id that is neither the server's own nor taken. No pod of any set has one from 2³¹ on.
func anotherID(own uint32, taken map[uint32]bool) uint32 {
	id := own ^ 1<<31
	for id == 0 || id == own || taken[id] {
		id++
	}
	return id
}
