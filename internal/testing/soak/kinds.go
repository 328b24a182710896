package main

import "time"

// A kind is something that goes wrong, or that somebody does.
type kind string

// What passes by itself, or is mended: no copy of any transaction is lost. Two of them may happen at the same time, beside a grave one.
const (
	killMysqld   kind = "kill -9 mysqld"
	killAgent    kind = "kill -9 agent"
	killPod      kind = "kill -9 everything" // of a Pod
	killInit     kind = "kill -9 init"
	killAll      kind = "kill -9 all pods" // a power failure that leaves what was handed to the kernel
	deletePod    kind = "pod deleted"
	deleteAll    kind = "all pods deleted"
	freezeMysqld kind = "mysqld frozen"
	freezeAgent  kind = "agent frozen"
	freezePod    kind = "pod frozen"
	cutPair      kind = "two pods cut off from each other"
	cutOneWay    kind = "one way between two pods cut"
	isolate      kind = "pod cut off from all pods"
	cutOff       kind = "pod cut off from all pods and clients"
	moveClock    kind = "clock jumped"
	stopReplica  kind = "replication stopped by hand"
	openReplica  kind = "read_only turned off"
	misdirect    kind = "channel pointed elsewhere"
)

// What costs the set a copy, or takes one out of service. The set must be whole before: every transaction on every Pod.
const (
	wipeReplica   kind = "replica's volume wiped"
	wipeSource    kind = "source's volume wiped"
	rollBack      kind = "source's volume rolled back"
	errantWrite   kind = "errant write on a replica"
	purgeBinlogs  kind = "binlogs purged"
	scaleDownUp   kind = "scaled down and up"
	duplicateUUID kind = "server_uuid of another pod"
)

// passing and grave are the decks that faults are drawn from: a kind is drawn as often as it is in there before any is drawn again.
var (
	passing = []kind{
		killMysqld, killMysqld, killMysqld, killAgent, killAgent, killPod, killPod, killInit, killInit, killAll, deletePod, deletePod, deleteAll,
		freezeMysqld, freezeAgent, freezePod, freezePod, cutPair, cutPair, cutOneWay, isolate, isolate, cutOff, moveClock, moveClock,
		stopReplica, openReplica, misdirect,
	}
	grave = []kind{
		wipeReplica, wipeReplica, wipeSource, wipeSource, rollBack, errantWrite, errantWrite, purgeBinlogs, scaleDownUp, duplicateUUID,
	}
)

// Which Pods a kind may befall, and for how long it may last.
var (
	onReplicas = map[kind]bool{
		stopReplica: true, openReplica: true, misdirect: true, wipeReplica: true, errantWrite: true, purgeBinlogs: true, duplicateUUID: true,
	}
	onSource  = map[kind]bool{wipeSource: true, rollBack: true}
	onAll     = map[kind]bool{killAll: true, deleteAll: true, scaleDownUp: true}
	onTwo     = map[kind]bool{cutPair: true, cutOneWay: true, misdirect: true, duplicateUUID: true}
	needsCuts = map[kind]bool{cutPair: true, cutOneWay: true, isolate: true, cutOff: true}
	lasts     = map[kind][2]time.Duration{
		freezeMysqld: {2 * time.Second, 9 * time.Second},
		freezeAgent:  {2 * time.Second, 12 * time.Second},
		freezePod:    {2 * time.Second, 12 * time.Second},
		cutPair:      {3 * time.Second, 20 * time.Second},
		cutOneWay:    {3 * time.Second, 15 * time.Second},
		isolate:      {3 * time.Second, 15 * time.Second},
		cutOff:       {2 * time.Second, 10 * time.Second},
		moveClock:    {5 * time.Second, 20 * time.Second},
		scaleDownUp:  {5 * time.Second, 15 * time.Second},
	}
	// jumps are how far a clock goes, one way or the other. A certificate of the data plane stands a day.
	jumps = []time.Duration{90 * time.Second, 10 * time.Minute, time.Hour, 20 * time.Hour}
)

// explains are the reasons for which data may be taken out of service after a fault of some kind, by anybody it did not spare.
var explains = map[kind][]string{
	errantWrite:  {"errant_transactions"},
	wipeSource:   {"binlogs_purged"}, // a copy has no binlogs of what was before it
	rollBack:     {"binlogs_purged", "sibling_ahead"},
	purgeBinlogs: {"binlogs_purged"},
	scaleDownUp:  {"binlogs_purged"},
}
