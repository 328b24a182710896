// Package pace keeps a copy from taking more than it is given.
//
// A [Limiter] holds all senders together to so many bytes per second. A [Shedder] changes that number while the copy runs: it watches what the
// donor's own work has to wait for, and makes the copy give way.
//
// It knows nothing of MySQL nor of the network: what is measured, and what is sent, is for the one who calls it to say.
package pace
