// Package background lets work that can wait stand behind work that cannot.
//
// A copy takes as much of a processor as it is given, from the same processors as the mysqld beside it: commits would wait for pages to be encrypted. Its
// threads ask for less, so that they get what the others leave. In a Pod each container has a share of its own, set by resources.requests.cpu; this is
// for where nothing divides the processors: plain processes, and the threads of one container among themselves (the agent answers probes while it copies).
package background

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// nice is what the threads are set to: about a ninth of the weight of one with the usual 0. Where processors are idle it costs nothing. See sched(7).
const nice = 10

// Goroutine gives the calling goroutine a thread of its own for the rest of its life, with a lower priority. The thread ends with the goroutine, and none
// that is started meanwhile inherits from it. It is for a goroutine that copies: each time it waits for another one costs a switch of threads.
//
// Where the system does not allow it, nothing is lost but the politeness.
func Goroutine() {
	runtime.LockOSThread() // never unlocked: nobody else shall get this thread
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), nice)
}
