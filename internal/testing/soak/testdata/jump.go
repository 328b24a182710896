package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// jumpText is the content of the file that ORDINAL_SOAK_CLOCK names, as it is at any moment: eight bytes, a sign and seven digits, by
// how many seconds the wall clock is wrong. nil: it is right. The monotonic clock goes on as it did, as it does on a machine whose clock
// is set.
var jumpText = jumpMap()

func jumpMap() *uint64 {
	name, ok := syscall.Getenv("ORDINAL_SOAK_CLOCK")
	if !ok {
		return nil
	}
	fd, err := open(name)
	if err != nil {
		return nil
	}
	defer closefd(fd)
	text, err := syscall.Mmap(int(fd), 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil
	}
	return (*uint64)(unsafe.Pointer(&text[0]))
}

// jumped makes no system call: the scheduler asks for the time too.
func jumped() (seconds int64) {
	if jumpText == nil {
		return 0
	}
	text := atomic.LoadUint64(jumpText)
	for _, c := range (*[8]byte)(unsafe.Pointer(&text))[1:] {
		seconds = seconds*10 + int64(c-'0')
	}
	if (*[8]byte)(unsafe.Pointer(&text))[0] == '-' {
		return -seconds
	}
	return seconds
}
