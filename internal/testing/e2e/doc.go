// Package e2e holds the tests of whole sets: real agents and real mysqlds in the emulator of package localset, from nothing to
// replication, under load, killed, wiped and lied to. It has no code of its own but what its tests share.
package e2e
