// Package catalog knows which backups a store has, what people and checks have said of them, and which of them may go.
//
// [Place.List] tells for each what it is: complete, unfinished, damaged, of another cluster, or sealed with a secret that we have not got. [Find] chooses one by its id,
// as the latest, or as the one for a time. Beside a backup lie notes that are no part of it: a [Mark] of a person, the [Verification] of the last
// checks, and, while a job works on it, the sign of life of its [Owner].
//
// Removing is the dangerous part. [NewPlan] decides, without touching anything, what a retention policy removes; [Prune] carries the plan out after the newest
// backup was looked at; [Clean] removes what jobs have left behind that were killed. All of them stop at the first doubt. A backup's manifest is removed first:
// from then on the rest is nothing, however far the removal gets. The other way round a backup would look restorable, and not be.
//
// docs/formats/backup-checks.md describes the objects that this package writes.
package catalog
