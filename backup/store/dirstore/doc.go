// Package dirstore keeps a [store.Store] in a directory: a volume, or a share of a file server.
//
// An object is a file of the same name below the directory. It is written under another name in .ordinal-unfinished, synced, and then renamed or linked to
// its own, so that it appears as a whole and after it is durable. Whoever writes holds flock(2) on the unfinished file, so that the leftover of a
// killed writer can be told from the work of a living one.
//
// Everything happens below an [os.Root], and a symbolic link is never followed, within it neither. The directory is opened anew by each call: a share that
// was mounted again (ESTALE) heals with a retry. The directory itself is never made: where a volume is not mounted, its absence should be noticed.
package dirstore
