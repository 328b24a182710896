// Package volume owns the layout of a pod's volume and every change to it that decides which data mysqld starts on.
//
//	lost+found/, .*              not ours, never counted, never touched
//	current -> gen/000007        mysqld's datadir; a relative link, replaced by one atomic rename
//	gen/000007/                  a generation: one data directory, whole or under construction
//	quarantine/<UTC time>-<reason>/   data/ is a generation taken out of service, reason.json says why
//	agent/lock                   flock, held for the life of a Volume
//	agent/generation-000007.json the Record of the generation
//	agent/identity.json          the Identity
//	agent/plan.json              a change of several steps under way (package plan)
//	agent/errant/000007-<UTC time>/  what was exported of the generation; errant-<UTC time>/ beside its data in quarantine
//	agent/auto.cnf-<UTC time>    an identity that a mysqld was made to forget
//	agent/request.json           what a person wants from the agent; request-outcome.json is what came of the last one
//	agent/hold.json              a person's word that replication is not to be started
//
// Everything else in the root is foreign: named, never touched, except by [Volume.Adopt].
//
// # Invariants
//
// They hold at every instant, so whenever a process is killed or the machine loses power:
//
//  1. A generation has a durable record before it has a directory, and has it until its directory is gone. So a directory
//     is removed only if a record of ours says that it never was complete.
//  2. While a copied generation may be incomplete it holds `#clone/#status_in_progress`, made first and removed last: a stock
//     mysqld ≥ 8.0.17 refuses to start on it, whoever points it there.
//  3. Its record says complete only after each of its files and directories was synced.
//  4. `current` is absent, or points to a complete generation without that file, or to a directory prepared empty
//     for the image's own first initialisation, which then works in it; or, before a switch, to a complete generation that is
//     older than another complete one and may hold that file: no mysqld starts on it then, one that runs goes on.
//  5. Data that was complete once is renamed, never removed, but by [Volume.Drop].
//  6. No mysqld is switched under, none comes up on a generation that was switched away from, and none is taken to quarantine along
//     with what it serves, but by [Volume.StartOver]. See [Volume.FinishSwitch].
//
// # Order of writes
//
//	NewGeneration    record (building) · gen/ · gen/N · #clone · #status_in_progress, each with its directory synced
//	Complete         sync each file and directory of gen/N · record (complete) · then, unless a mysqld works on an older one, as FinishSwitch
//	FinishSwitch     remove #status_in_progress · the same file in the generation that is current, against restarts · look whether a mysqld
//	                 works on an older one: if so, no more · switch current. It may be made any number of times
//	Discard          all of gen/N but #clone · the rest of #clone · #status_in_progress · #clone · gen/N · record
//	PrepareEmpty     record (building, initialised) · gen/N, empty · switch current
//	MarkInitialised  sync each file and directory of gen/N · record (complete)
//	Quarantine       plan: remove current if it points here · reason.json · rename what was exported · rename gen/N · remove record
//	StartOver        plan: record of the next (building, initialised) · its directory · switch current · as Quarantine
//	Retire           a plan for each, oldest first: as Quarantine · and remove FinishSwitch's #status_in_progress before the record
//	Undo             plan: record of the next (complete) · rename data to gen/N · rename what was exported · remove reason.json
//	                 and its directory; then as the end of Complete
//	Drop             rename to quarantine/.dropping-<name> · remove data/ · remove the rest · reason.json · its directory
//	NewExport        agent/errant/ · a directory with a temporary name, which Open removes
//	Keep             sync each file and directory of it · rename
//	ForgetServerUUID rename auto.cnf to agent/
//	Submit           request.json, which never replaces another
//	CloseRequest     request-outcome.json · remove request.json
//	Adopt            plan: #status_in_progress in the root, so that a mysqld still configured for the root refuses · gen/N ·
//	                 move mysql/, without which nothing takes the root for a data directory · move the rest · move #clone ·
//	                 record (complete) · remove #status_in_progress · switch current
//
// All paths go through [os.Root], and no directory of the layout may be a symbolic link. The package does not look
// into data files, runs no mysqld and does not decide what to do: it tells what is there ([Inspect]) and carries out decisions.
package volume
