package agent

import (
	"strings"
	"testing"
	"time"

	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

const (
	ours     = "00000000-0000-0000-0000-00000000000a" // a server that the set had before
	own      = "00000000-0000-0000-0000-00000000000c" // this pod's server
	clusterA = "aaaaaaaaaaaaaaaa"
	clusterB = "bbbbbbbbbbbbbbbb"
)

func gtids(t testing.TB, s string) mysqlx.GTIDSet {
	t.Helper()
	set, err := mysqlx.ParseGTIDSet(s)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// up is a server that runs and has executed executed.
func up(t testing.TB, executed string) mysqldView {
	return mysqldView{Reach: mysqldUp, Facts: mysqlx.Facts{GTIDExecuted: gtids(t, executed), ServerUUID: own, ServerID: 100, Port: 3306}}
}

// peer is an answer of a pod that has executed executed.
func peer(pod, cluster, executed string) PeerAnswer {
	return PeerAnswer{Pod: pod, Host: pod, Kind: PeerAnswered, Status: Status{Phase: PhaseRun, ClusterID: cluster, HasData: DataYes, GTIDExecuted: executed, State: StateSource}}
}

func silent(pod string) PeerAnswer {
	return PeerAnswer{Pod: pod, Kind: PeerSilent, Why: pod + " did not answer in time"}
}

// check compares a verdict with what is expected of it. says must be in one of its reasons.
func check(t *testing.T, v view, state State, do act, says string) verdict {
	t.Helper()
	d := decide(v)
	if d.State != state || d.Do != do {
		t.Errorf("state %s, do %q; want %s, %q (reasons %v)", d.State, d.Do, state, do, d.Reasons)
	}
	text := ""
	for _, r := range d.Reasons {
		text += r.String() + "\n"
	}
	if !strings.Contains(text, says) {
		t.Errorf("reasons %q do not say %q", text, says)
	}
	return d
}

func TestFirstInitialisation(t *testing.T) {
	first := func(kind volume.Kind, m mysqldView) view { return view{Role: RoleSource, Volume: kind, Mysqld: m} }
	down := mysqldView{Reach: mysqldDown}
	tests := []struct {
		name string
		view view
		do   act
		says string
	}{
		{"not begun", first(volume.Prepared, down), actNone, "mysqld_initialising"},
		{"under way", first(volume.NeverCompleted, down), actNone, "mysqld_initialising"},
		{"temporary server", first(volume.NeverCompleted, mysqldView{Reach: mysqldTemporary}), actNone, "mysqld_initialising"},
		{"ended", first(volume.NeverCompleted, up(t, "")), actFinishFirst, "creating the accounts"},
		{"cut short, nobody goes on", first(volume.NeverCompleted, mysqldView{Reach: mysqldDown, Abandoned: true}), actStartOver, "interrupted_first_start"},
		{"not begun yet is not abandoned", first(volume.Prepared, mysqldView{Reach: mysqldDown, Abandoned: true}), actNone, "mysqld_initialising"},
		{"cut short, after root's password was set", first(volume.NeverCompleted, mysqldView{Reach: mysqldUp, CutShort: true}), actStartOver, "steps are missing"},
		{"ended, on data that was put aside", first(volume.Prepared, mysqldView{Reach: mysqldUp, Elsewhere: true}), actNone, "put aside"},
		{"cut short, again and again", view{Role: RoleSource, Volume: volume.NeverCompleted, StartsOver: maxStartsOver, Mysqld: mysqldView{Reach: mysqldUp, CutShort: true}}, actNone, "empty quarantine/"},
		{"cut short, root without password", first(volume.NeverCompleted, mysqldView{Reach: mysqldUp, Bare: true}), actStartOver, "without a password"},
		{"no root password", first(volume.NeverCompleted, mysqldView{Reach: mysqldNoRoot, Why: "give it"}), actNone, "give it"},
		{"wrong root password", first(volume.NeverCompleted, mysqldView{Reach: mysqldDenied, Why: "denied"}), actNone, "access_denied"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { check(t, test.view, StateInitialising, test.do, test.says) })
	}
}

func TestUnfinishedVolume(t *testing.T) {
	for _, kind := range []volume.Kind{volume.Empty, volume.UnderWay, volume.Foreign, volume.ChangeUnderWay} {
		v := view{Role: RoleReplica, Volume: kind, Mysqld: up(t, ours+":1-5")}
		check(t, v, StateWaitingForMysqld, actNone, "agent init has to run")
	}
}

func TestSource(t *testing.T) {
	base := func(change func(*view)) view {
		v := view{
			Role: RoleSource, Volume: volume.Complete, ConfigGood: true, ClusterID: clusterA, Mysqld: up(t, ours+":1-100"), ServerKnown: true,
			ServerID: 100, Want: mysqlx.Source{Host: "mysql-0", Port: 3306, User: mysqlx.ReplicationAccount(clusterA)}, MayStart: true, Heal: HealAuto,
		}
		change(&v)
		return v
	}
	closed := func(siblings ...PeerAnswer) func(*view) {
		return func(v *view) {
			v.Mysqld.Facts.SuperReadOnly, v.Mysqld.Facts.ReadOnly, v.Siblings = true, true, siblings
		}
	}
	tests := []struct {
		name  string
		view  view
		state State
		do    act
		says  string
	}{
		{"open", base(func(*view) {}), StateSource, actNone, ""},
		{"configuration first", base(func(v *view) { v.ConfigGood = false }), StateWaitingForMysqld, actConfigure, ""},
		{"mysqld is down", base(func(v *view) { v.Mysqld = mysqldView{Why: "refused"} }), StateWaitingForMysqld, actNone, "refused"},
		{"channel of an earlier life", base(func(v *view) { v.Channels = []mysqlx.ReplicaStatus{{}} }), StateGateClosed, actResetChannels, "earlier life"},
		{"gate, alone", base(closed()), StateGateClosed, actOpen, ""},
		{"gate, sibling is behind", base(closed(peer("mysql-1", clusterA, ours+":1-90"))), StateGateClosed, actOpen, ""},
		{"gate, sibling is level", base(closed(peer("mysql-1", clusterA, ours+":1-100"))), StateGateClosed, actOpen, ""},
		{"gate, sibling is ahead", base(closed(peer("mysql-1", clusterA, ours+":1-101"))), StateGateClosed, actCatchUp, "mysql-1 has 1 transactions that this source lacks: " + ours + ":101"},
		{"gate, sibling is ahead, patience is no reason", base(func(v *view) {
			closed(peer("mysql-1", clusterA, ours+":1-101"))(v)
			v.GateWaited = true
		}), StateGateClosed, actCatchUp, "sibling_ahead"},
		{"gate, catching up", base(func(v *view) {
			closed(peer("mysql-1", clusterA, ours+":1-101"))(v)
			v.Channels = []mysqlx.ReplicaStatus{follows("mysql-1")}
			v.Mysqld.Facts.ServerID = catchUpServerID(100)
		}), StateGateClosed, actNone, "sibling_ahead"},
		{"gate, caught up", base(func(v *view) {
			closed(peer("mysql-1", clusterA, ours+":1-100"))(v)
			v.Channels = []mysqlx.ReplicaStatus{follows("mysql-1")}
			v.Mysqld.Facts.ServerID = catchUpServerID(100)
		}), StateGateClosed, actResetChannels, "has everything"},
		{"gate, caught up, killed before server_id was set back", base(func(v *view) {
			closed(peer("mysql-1", clusterA, ours+":1-100"))(v)
			v.Mysqld.Facts.ServerID = catchUpServerID(100)
		}), StateGateClosed, actServerID, ""},
		{"gate, restored, and a sibling is ahead", base(func(v *view) {
			closed(peer("mysql-1", clusterA, ours+":1-101"))(v)
			v.Restored = true
		}), StateGateClosed, actNone, "restored_behind_sibling"},
		{"gate, restored, served before, and a sibling is ahead", base(func(v *view) {
			closed(peer("mysql-1", clusterA, ours+":1-101"))(v)
			v.Restored, v.Served = true, true
		}), StateGateClosed, actCatchUp, "sibling_ahead"},
		{"restored, and the archive is to be replayed", base(func(v *view) {
			closed()(v)
			v.Replay = &replayView{Target: "the end of the archive", Backup: "b"}
		}), StateRestoring, actReplay, "about to be executed"},
		{"the archive is being replayed", base(func(v *view) {
			closed()(v)
			v.Replay = &replayView{Running: true, Done: 7, Total: 9}
		}), StateRestoring, actNone, "7 of 9"},
		{"the archive could not be replayed a moment ago", base(func(v *view) {
			closed()(v)
			v.Replay = &replayView{Failed: "a segment is missing", Resting: true}
		}), StateRestoring, actNone, "a segment is missing"},
		{"the archive could not be replayed", base(func(v *view) {
			closed()(v)
			v.Replay = &replayView{Failed: "a segment is missing"}
		}), StateRestoring, actReplay, "replay_failed"},
		{"nobody knows whether something is to be replayed", base(func(v *view) {
			closed()(v)
			v.Replay = &replayView{Damaged: "the journal cannot be read"}
		}), StateRestoring, actNone, "cannot be read"},
		{"somebody lets writes in before the replay", base(func(v *view) { v.Replay = &replayView{} }), StateRestoring, actClose, "nothing is written"},
		{"gate, the second sibling has most", base(closed(peer("mysql-1", clusterA, ours+":1-101"), peer("mysql-2", clusterA, ours+":1-105"))), StateGateClosed, actCatchUp, "mysql-2 has 5"},
		{"gate, what a sibling has received counts", base(func(v *view) {
			p := peer("mysql-1", clusterA, ours+":1-90")
			p.Status.GTIDWaiting = ours + ":91-101"
			closed(p)(v)
		}), StateGateClosed, actCatchUp, "mysql-1 has 1"},
		{"gate, a replica's own transactions do not count", base(func(v *view) {
			p := peer("mysql-1", clusterA, ours+":1-90,00000000-0000-0000-0000-00000000000e:1")
			p.Status.GTIDLocal = "00000000-0000-0000-0000-00000000000e:1"
			closed(p)(v)
		}), StateGateClosed, actOpen, ""},
		{"gate, sibling is ahead and has purged it", base(func(v *view) {
			p := peer("mysql-1", clusterA, ours+":1-120")
			p.Status.GTIDPurged = ours + ":1-110"
			closed(p)(v)
		}), StateGateClosed, actRebuild, "has purged"},
		{"gate, diverged", base(closed(peer("mysql-1", clusterA, ours+":1-90:101"))), StateDiverged, actNone, "none has all of them: this source has 10 transactions that not all have (" + ours + ":91-100); mysql-1 has 1"},
		{"gate, siblings have diverged", base(closed(peer("mysql-1", clusterA, ours+":1-101"), peer("mysql-2", clusterA, ours+":1-100:102"))), StateDiverged, actNone, "siblings_diverged"},
		{"gate, sibling is silent", base(closed(silent("mysql-1"))), StateGateClosed, actNone, "mysql-1"},
		{"gate, sibling stays silent", base(func(v *view) { closed(silent("mysql-1"))(v); v.GateWaited, v.NewUUID = true, true }), StateGateClosed, actOpen, ""},
		{"gate, sibling stays silent, and the next number may be taken", base(func(v *view) {
			closed(silent("mysql-1"))(v)
			v.GateWaited = true
		}), StateGateClosed, actNewUUID, "server_uuid of their own"},
		{"gate, sibling is empty", base(closed(PeerAnswer{Pod: "mysql-1", Kind: PeerAnswered, Status: Status{HasData: DataNo}})), StateGateClosed, actOpen, ""},
		{"gate, sibling does not know yet", base(closed(PeerAnswer{Pod: "mysql-1", Kind: PeerAnswered, Status: Status{HasData: DataYes}})), StateGateClosed, actNone, "mysql-1"},
		{"gate, sibling does not exist", base(closed(PeerAnswer{Pod: "mysql-1", Kind: PeerAbsent})), StateGateClosed, actNewUUID, "server_uuid of their own"},
		{"gate, sibling does not exist, new server_uuid", base(func(v *view) {
			closed(PeerAnswer{Pod: "mysql-1", Kind: PeerAbsent})(v)
			v.NewUUID = true
		}), StateGateClosed, actOpen, ""},
		{"gate, stranger's transactions do not count", base(closed(peer("mysql-1", clusterB, "00000000-0000-0000-0000-00000000000b:1-9"))), StateGateClosed, actOpen, ""},
		{"gate, unreadable answer", base(closed(peer("mysql-1", clusterA, "nonsense"))), StateGateClosed, actNone, "cannot be read"},
		{"no accounts", base(func(v *view) { v.ClusterID = "" }), StateGateClosed, actAccounts, ""},
		{"users are kept out", base(func(v *view) { v.Mysqld.Facts.OfflineMode = true }), StateGateClosed, actLetIn, ""},
		{"not let in at all", base(func(v *view) { v.Mysqld = mysqldView{Reach: mysqldDenied, Why: "denied"} }), StateGateClosed, actNone, "access_denied"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { check(t, test.view, test.state, test.do, test.says) })
	}
}

// follows is a channel that runs and leads to host.
func follows(host string) mysqlx.ReplicaStatus {
	lag := time.Second
	return mysqlx.ReplicaStatus{
		SourceHost: host, SourcePort: 3306, SourceUser: mysqlx.ReplicationAccount(clusterA), AutoPosition: true, SSL: true,
		HeartbeatPeriod: mysqlx.HeartbeatPeriod, RetryCount: mysqlx.RetryCount, ReceiverState: "ON", ApplierState: "ON", Lag: &lag,
	}
}

func TestReplica(t *testing.T) {
	want := mysqlx.Source{Host: "mysql-0.mysql", Port: 3306, User: mysqlx.ReplicationAccount(clusterA)}
	channel := follows(want.Host)
	base := func(change func(*view)) view {
		v := view{
			Role: RoleReplica, Volume: volume.Complete, ConfigGood: true, ClusterID: clusterA, Mysqld: up(t, ours+":1-100"), ServerKnown: true,
			Channels: []mysqlx.ReplicaStatus{channel}, Source: peer("mysql-0", clusterA, ours+":1-120"), Want: want, MayStart: true,
			ServerID: 100, Heal: HealAuto,
		}
		v.Mysqld.Facts.SuperReadOnly = true
		change(&v)
		return v
	}
	with := func(change func(*mysqlx.ReplicaStatus)) func(*view) {
		return func(v *view) { change(&v.Channels[0]) }
	}
	tests := []struct {
		name  string
		view  view
		state State
		do    act
		says  string
	}{
		{"replicating", base(func(*view) {}), StateReplicating, actNone, ""},
		{"read only comes first", base(func(v *view) { v.Mysqld.Facts.SuperReadOnly = false; v.ServerKnown = false }), StateNotReplicating, actClose, "super_read_only"},
		{"initialised instead of cloned", base(func(v *view) { v.ClusterID = "" }), StateNotReplicating, actRebuild, "not cloned"},
		{"initialised instead of cloned, source is closed", base(func(v *view) { v.ClusterID = ""; v.Source.Status.State = StateGateClosed }), StateNotReplicating, actNone, "not cloned"},
		{"the source's server_uuid", base(func(v *view) { v.SameUUID = "mysql-0"; v.ServerKnown = false }), StateNotReplicating, actNewUUID, "duplicate_server_uuid"},
		{"stopped by hand, held", base(func(v *view) { v.Channels[0].ReceiverState = "OFF"; v.Held = "upgrade" }), StateNotReplicating, actNone, "replication_held: replication is not started: upgrade"},
		{"a new copy is complete, data is received", base(func(v *view) { v.Volume, v.Lineage = volume.Switching, clusterA }), StateNotReplicating, actHalt, "nothing more is received"},
		{"a new copy is complete", base(func(v *view) {
			v.Volume, v.Lineage, v.Channels[0].ReceiverState, v.Channels[0].ApplierState = volume.Switching, clusterA, "OFF", "OFF"
		}), StateNotReplicating, actSwitch, "rebuilding"},
		{"a new copy is complete, the source lacks what came meanwhile", base(func(v *view) {
			v.Volume, v.Lineage, v.Channels = volume.Switching, clusterA, nil
			v.Waiting = gtids(t, ours+":121")
		}), StateNotReplicating, actNone, "1 transactions of the old data"},
		{"a new copy is complete, that was exported", base(func(v *view) {
			v.Volume, v.Lineage, v.Channels = volume.Switching, clusterA, nil
			v.Waiting, v.OnlyHere = gtids(t, ours+":121"), gtids(t, ours+":121")
		}), StateNotReplicating, actSwitch, ""},
		{"a new copy is complete, the source is silent", base(func(v *view) {
			v.Volume, v.Lineage, v.Channels, v.Source = volume.Switching, clusterA, nil, silent("mysql-0")
		}), StateNotReplicating, actNone, "100 transactions of the old data"},
		{"a new copy is complete, mysqld is down", base(func(v *view) { v.Volume, v.Mysqld = volume.Switching, mysqldView{Why: "refused"} }), StateWaitingForMysqld, actNone, "refused"},
		{"a new copy is complete, mysqld stays down", base(func(v *view) {
			v.Volume, v.Mysqld, v.DownLong = volume.Switching, mysqldView{Why: "refused"}, true
		}), StateNotReplicating, actSwitch, ""},
		{"a switch was begun", base(func(v *view) { v.Volume, v.Mysqld, v.SwitchBegun = volume.Switching, mysqldView{}, true }), StateNotReplicating, actSwitch, ""},
		{"mysqld runs on the new copy", base(func(v *view) { v.Replaced = true }), StateNotReplicating, actRetire, "rebuilding"},
		{"cause is gone", base(func(v *view) { v.Rebuild = &rebuildView{} }), StateReplicating, actDropRebuild, ""},
		{"cause cannot be looked at", base(func(v *view) { v.Rebuild = &rebuildView{}; v.Source = silent("mysql-0"); v.Channels = nil }), StateNotReplicating, actNone, "source_unreachable"},
		{"the applier met other rows", base(func(v *view) { v.Channels[0].ApplierState = "OFF"; v.Drifted = "no such row" }), StateNotReplicating, actRebuild, "no such row"},
		{"the relay log is damaged", base(func(v *view) { v.Channels[0].ApplierState = "OFF"; v.RelayDamaged = true }), StateNotReplicating, actFollow, ""},
		{"server_id of a catch-up", base(func(v *view) { v.Mysqld.Facts.ServerID = 7 }), StateNotReplicating, actServerID, ""},
		{"a fresh copy", base(func(v *view) { v.ServerKnown = false }), StateNotReplicating, actResetChannels, "donor's replication channel"},
		{"no channel", base(func(v *view) { v.Channels = nil }), StateNotReplicating, actFollow, ""},
		{"two channels", base(func(v *view) { v.Channels = append(v.Channels, v.Channels[0]) }), StateNotReplicating, actFollow, ""},
		{"channel points elsewhere", base(with(func(c *mysqlx.ReplicaStatus) { c.SourceHost = "elsewhere" })), StateNotReplicating, actStop, "channel_elsewhere"},
		{"channel points elsewhere, source is silent", base(func(v *view) { v.Channels[0].SourceHost = "elsewhere"; v.Source = silent("mysql-0") }), StateNotReplicating, actStop, "channel_elsewhere"},
		{"channel points elsewhere, stopped", base(with(func(c *mysqlx.ReplicaStatus) { c.SourceHost, c.ReceiverState = "elsewhere", "OFF" })), StateNotReplicating, actFollow, ""},
		{"channel without TLS", base(with(func(c *mysqlx.ReplicaStatus) { c.SSL = false })), StateNotReplicating, actFollow, ""},
		{"receiver is off", base(with(func(c *mysqlx.ReplicaStatus) { c.ReceiverState = "OFF" })), StateNotReplicating, actStart, ""},
		{"applier is off", base(with(func(c *mysqlx.ReplicaStatus) {
			c.ApplierState = "OFF"
			c.ApplierError = mysqlx.ReplicaError{Number: 1062, Message: "duplicate entry"}
		})), StateNotReplicating, actStart, "duplicate entry"},
		{"applier is off, started a moment ago", base(func(v *view) { v.Channels[0].ApplierState = "OFF"; v.MayStart = false }), StateNotReplicating, actNone, ""},
		{"connecting", base(with(func(c *mysqlx.ReplicaStatus) { c.ReceiverState = "CONNECTING" })), StateNotReplicating, actNone, "source_unreachable"},
		{"lag is not known", base(with(func(c *mysqlx.ReplicaStatus) { c.Lag = nil })), StateCatchingUp, actNone, "lag_unknown"},
		{"lag", base(with(func(c *mysqlx.ReplicaStatus) { late := time.Minute; c.Lag = &late })), StateCatchingUp, actNone, "1m0s behind"},
		{"source is silent, channel runs", base(func(v *view) { v.Source = silent("mysql-0") }), StateReplicating, actNone, ""},
		{"source is silent, nothing is started", base(func(v *view) { v.Source = silent("mysql-0"); v.Channels = nil }), StateNotReplicating, actNone, "source_unreachable"},
		{"source does not know what it has", base(func(v *view) { v.Source = peer("mysql-0", clusterA, ""); v.Channels = nil }), StateNotReplicating, actNone, "source_not_open"},
		{"source is a stranger, channel runs", base(func(v *view) { v.Source = peer("mysql-0", clusterB, "x") }), StateSourceIsStranger, actStop, clusterB},
		{"source is a stranger", base(func(v *view) { v.Source = peer("mysql-0", clusterB, "x"); v.Channels = nil }), StateSourceIsStranger, actNone, clusterB},
		{"surplus, seen once", base(func(v *view) { v.Surplus = gtids(t, ours+":99"); v.Channels = nil }), StateNotReplicating, actNone, "once more"},
		{"surplus that lasts", base(func(v *view) { v.Lasting = gtids(t, ours+":99") }), StateDiverged, actRebuild, "1 transactions that mysql-0 lacks"},
		{"surplus that lasts, report", base(func(v *view) { v.Lasting = gtids(t, ours+":99"); v.Heal = HealReport }), StateDiverged, actNone, "rebuild_needed"},
		{"surplus that lasts, held", base(func(v *view) { v.Lasting = gtids(t, ours+":99"); v.Held = "looking at it" }), StateDiverged, actNone, "looking at it"},
		{"surplus that lasts, being rebuilt", base(func(v *view) {
			v.Lasting = gtids(t, ours+":99")
			v.Rebuild = &rebuildView{Now: showing{State: StateCloning}}
		}), StateDiverged, actNone, "(cloning)"},
		{"surplus that lasts, rebuild failed a moment ago", base(func(v *view) {
			v.Lasting, v.Rebuild = gtids(t, ours+":99"), &rebuildView{Failed: "no donor", Resting: true}
		}), StateDiverged, actNone, "no donor"},
		{"surplus that lasts, rebuild failed", base(func(v *view) { v.Lasting, v.Rebuild = gtids(t, ours+":99"), &rebuildView{Failed: "no donor"} }), StateDiverged, actRebuild, ""},
		{"it skips what it has written itself", base(func(v *view) { v.Skipped = gtids(t, ours+":99") }), StateNotReplicating, actRebuild, "a server skips its own"},
		{"binlogs purged", base(func(v *view) { v.Source.Status.GTIDPurged = ours + ":1-110"; v.Channels = nil }), StateNotReplicating, actRebuild, "binlogs_purged"},
		{"binlogs purged, what they had was received", base(func(v *view) {
			v.Source.Status.GTIDPurged, v.Waiting = ours+":1-110", gtids(t, ours+":101-112")
			v.Channels[0].ReceiverState = "OFF"
		}), StateNotReplicating, actStart, ""},
		{"seen as root", base(func(v *view) { v.Mysqld.AsRoot = true }), StateNotReplicating, actRebuild, "not cloned"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { check(t, test.view, test.state, test.do, test.says) })
	}
	if d := decide(base(func(*view) {})); !d.Serving {
		t.Error("a replica that replicates does not serve")
	}
}

func TestSurplusLasts(t *testing.T) {
	at := time.Unix(1000, 0)
	var s surplus
	observe := func(set string) { at = at.Add(time.Second); s.add(gtids(t, set), at) }
	// A source under load is always a little ahead of what it told last: another transaction each time, none that stays.
	for _, set := range []string{ours + ":5", ours + ":6", ours + ":7-8", ours + ":9", ours + ":10"} {
		if observe(set); !s.lasting().IsEmpty() {
			t.Fatalf("%s: %v lasts", set, s.lasting())
		}
	}
	// An errant transaction stays.
	for range lastingTurns {
		observe(ours + ":77," + at.Format("00000000-0000-0000-0000-000000000505") + ":1")
	}
	if got := s.lasting(); !got.Contains(gtids(t, ours+":77")) {
		t.Errorf("lasting %v lacks the errant transaction", got)
	}
	// The same answer, read again, proves nothing.
	s = surplus{}
	for range 10 {
		s.add(gtids(t, ours+":5"), at)
	}
	if !s.lasting().IsEmpty() {
		t.Error("one answer counted several times")
	}
	// A source that has caught up ends it.
	if observe(""); !s.lasting().IsEmpty() {
		t.Error("an empty surplus lasts")
	}
}

func TestSkips(t *testing.T) {
	const own = "0b7a5c3e-0000-1111-2222-333344445555"
	at := time.Unix(1000, 0)
	var s skips
	observe := func(state, has, told string) mysqlx.GTIDSet {
		at = at.Add(time.Second)
		v := view{Mysqld: mysqldView{Facts: mysqlx.Facts{ServerUUID: own, GTIDExecuted: gtids(t, has)}}, Channels: []mysqlx.ReplicaStatus{{ReceiverState: state}}}
		v.Source.Status.ObservedAt = at
		s.add(&v, gtids(t, told))
		return s.lasting()
	}
	mine := "," + own + ":1-2"
	for range 2 * lastingTurns { // the rest has not arrived either: it may be on its way
		if got := observe("ON", ours+":1-9", ours+":1-10"+mine); !got.IsEmpty() {
			t.Fatalf("%v is skipped before anything behind it has arrived", got)
		}
	}
	for range 2 * lastingTurns {
		if got := observe("CONNECTING", ours+":1-10", ours+":1-10"+mine); !got.IsEmpty() {
			t.Fatalf("%v is skipped while nothing arrives", got)
		}
	}
	var got mysqlx.GTIDSet
	for range lastingTurns {
		got = observe("ON", ours+":1-10", ours+":1-10"+mine)
	}
	if !got.Equal(gtids(t, own+":1-2")) {
		t.Errorf("skipped: %v, want %s:1-2", got, own)
	}
	if got := observe("ON", ours+":1-10"+mine, ours+":1-11"+mine); !got.IsEmpty() {
		t.Errorf("%v is skipped after a new copy has brought it", got)
	}
}
