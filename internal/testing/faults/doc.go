// Package faults is a TCP proxy that breaks connections on purpose: it stands between two pods, passes opaque bytes (TLS included)
// and does at chosen bytes what networks do: it cuts, stalls, slows, loses one end, flips a bit.
//
// A Fault is tied to a byte, not to a moment, so that a Schedule does the same on a fast machine and on a slow one. Plan draws a
// Schedule from a seed and a Schedule prints as one line: what has failed once can be replayed. Where several connections share the
// work, which of them brings a byte is up to them; Hits tells afterwards.
//
// It listens and dials on loopback addresses only. It does not look into what passes.
package faults
