// Package store says what a backup needs of the place that it is kept in: [Store], its errors, and the marker that says whose place it is.
//
// A store keeps objects: bytes under a name. An object is there as a whole or not at all, and once it is there a crash of whoever wrote it, or of the
// machine, does not take it away. That is all that is asked, so that a directory can do it as well as an S3-compatible server. There is no append, no
// rename and no lock: backups are made of objects that are written once, under names that nobody else uses.
//
// Trying again ([Retry]) and going slower ([Limit]) are wrappers around a store. The package knows nothing of what the objects mean.
package store
