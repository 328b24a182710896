// Package replay executes archived binlogs on a server whose data was restored from a backup, up to a point in time.
//
// NewPlan finds out first whether the target can be reached at all: it takes the archive's segments one behind the other, by the GTID sets in their
// headers, and proves that nothing is missing between what the server has and the target. Only for the target itself it reads a segment. The plan ends with
// the exact GTID set that the server will have executed; a target that cannot be reached is refused with the last point that can.
//
// A Replayer then copies the transactions of the plan, byte for byte and no others, into files that the server takes as relay logs of a channel of its own,
// and lets the server's parallel applier execute them, batch after batch. Nothing beyond the target ever comes near the server. Meanwhile the server has
// another server_id: with its own it would skip, in silence, all that it once wrote itself. What is reached is proven by gtid_executed, which must be the
// plan's set in the end, neither less nor more.
//
// What is under way is in a journal on the volume, see docs/formats/replay.md. Whoever ends, the replay or the server, in whatever moment: the next Run goes
// on. As long as there is a journal the server is not to take writes.
//
// The package knows nothing of stores, of compression or keys: an Archive gives it the segments as binlogs.
package replay
