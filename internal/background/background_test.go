package background_test

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ordinal/internal/background"
)

// niceness of the calling thread. The system call returns 20 minus it.
func niceness(t *testing.T) int {
	t.Helper()
	n, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid())
	if err != nil {
		t.Error(err)
	}
	return 20 - n
}

func TestOnlyItsOwnThreadYields(t *testing.T) {
	before := niceness(t)
	var all sync.WaitGroup
	lowered := make(chan struct{})
	release := make(chan struct{})
	all.Go(func() {
		background.Goroutine()
		if got := niceness(t); got != max(before, 10) {
			t.Errorf("the thread's niceness is %d", got)
		}
		close(lowered)
		<-release
	})
	<-lowered
	// Enough goroutines at once, each kept busy in the kernel's eyes, that threads have to be started for them.
	const others = 64
	ready := make(chan struct{}, others)
	for range others {
		all.Go(func() {
			ready <- struct{}{}
			<-release
			if got := niceness(t); got != before {
				t.Errorf("another goroutine runs with niceness %d", got)
			}
		})
	}
	for range others {
		<-ready
	}
	close(release)
	all.Wait()
	for range others { // and on what threads are left when it has ended
		all.Go(func() {
			if got := niceness(t); got != before {
				t.Errorf("a later goroutine runs with niceness %d", got)
			}
		})
	}
	all.Wait()
}
