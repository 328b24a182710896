package agent

import (
	"time"

	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// A view is what one turn of the loop has observed. The decisions are made on it alone.
type view struct {
	At   time.Time // before anything was looked at
	Role Role

	Volume     volume.Kind
	Generation int
	StartsOver int  // how often a first initialisation was put aside so far
	ConfigGood bool // mysqld's configuration is what it has to be for this volume

	Mysqld mysqldView
	// ServerKnown says that this server has been set up by us: its server_uuid is the one in the volume's identity. A copy
	// starts with a new server_uuid.
	ServerKnown bool
	ClusterID   string // of the server's accounts; "" when it has none
	Channels    []mysqlx.ReplicaStatus

	ServerID   uint32            // what server_id has to be
	Served     bool              // the pod has been ready on this data before
	Replaced   bool              // there is data that a newer copy has taken the place of
	SameUUID   string            // a pod that does not give way and has the same server_uuid; "": none
	Siblings   []PeerAnswer      // of a source; of an open one, as they were a while ago
	Rotation   rotationView      // what a change of the cluster secret has left to do
	Semisync   semisyncView      // of a source
	Overridden []mysqlx.Override // settings of ours that something else has changed

	NewUUID    bool      // mysqld got its server_uuid at the wish of this agent, since that was started
	GateSince  time.Time // of a source whose gate is closed: what siblings said before does not count
	GateWaited bool      // of a source whose gate is closed: siblings that do not answer have had time enough

	// What people have asked for, and what is under way.
	Heal    HealPolicy
	Held    string          // why somebody asked the agent not to start replication; "": nobody has
	Request *volume.Request // nil: nothing
	Rebuild *rebuildView    // nil: none is under way
	// Quarantine is what lies in quarantine, where room is short and the data that is served has proven itself; else empty.
	Quarantine []volume.QuarantineEntry

	// Of a new copy that waits to take the place of the data that is served.
	Older       int            // the generation that is still served
	SwitchBegun bool           // mysqld cannot start on the old data any more
	DownLong    bool           // mysqld on the old data has not answered for so long that nobody expects it to
	OnlyHere    mysqlx.GTIDSet // what was exported of the old data
	Copied      mysqlx.GTIDSet // what the new copy has at least
	Lineage     string         // the cluster that the new copy is of

	Replay   *replayView // of restored data that something is still to be executed on; nil: nothing is
	Restored bool        // the data comes from a backup

	Source  PeerAnswer     // of a replica: the set's source
	Want    mysqlx.Source  // of a replica: what its channel should be; the password is not compared
	Surplus mysqlx.GTIDSet // of a replica: what it has and the source lacks, as far as both are known
	Lasting mysqlx.GTIDSet // the part of Surplus that has been there for several turns, with a source that takes writes
	Skipped mysqlx.GTIDSet // what the source has of this replica's own server_uuid, and the replica will never execute
	Waiting mysqlx.GTIDSet // received and not executed yet
	Abroad  mysqlx.GTIDSet // the part of Waiting that the source lacks
	Local   mysqlx.GTIDSet // what a replica that was cloned has executed by itself
	Drifted string         // why the applier cannot go on, ever; "": it can
	Purged  string         // what the source said when it had not kept what the receiver needs next; "": it has not said so
	// RelayDamaged says that the applier cannot read what was received: it has to be fetched again.
	RelayDamaged bool
	MayStart     bool // a start of replication is not too soon after the last one
}

// hasData reports whether the volume's data is complete: it is served, or about to be.
func (v view) hasData() bool { return v.Volume == volume.Complete || v.Volume == volume.Switching }

// mysqldView is what is known of the pod's own server.
type mysqldView struct {
	Reach      mysqldReach
	Why        string // for people, when it is not up
	Facts      mysqlx.Facts
	AsRoot     bool // the agent's account is not there: seen with root's
	Bare       bool // root is let in without its password, though it has one: the first initialisation was cut short
	Elsewhere  bool // it has another data directory open than this volume's unfinished one
	CutShort   bool // a server of the first initialisation was killed: steps of it are missing
	Abandoned  bool // no server has had the data directory open for a while
	UserTables *int
	DataBytes  *uint64
}

// mysqldReach says how far the agent got with the pod's own server.
type mysqldReach int

const (
	mysqldDown      mysqldReach = iota // nobody answers
	mysqldTemporary                    // the image's temporary server, without network
	mysqldDenied                       // it answers and lets none of our accounts in
	mysqldNoRoot                       // root's password would be needed and was not given
	mysqldFailing                      // it answers and something is wrong
	mysqldUp
)
