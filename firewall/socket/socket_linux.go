//go:build linux && !race

package socket

import (
	"os"
	"syscall"
	"unsafe"
)

// Direct says that this platform has the functions of this package.
const Direct = true

// call is a system call about p that never waits. The descriptor must be a
// socket.
func call(trap, fd uintptr, p []byte, flags uintptr) (n int, err syscall.Errno) {
	var at unsafe.Pointer
	if len(p) > 0 {
		at = unsafe.Pointer(&p[0])
	}
	for {
		r, _, err := syscall.RawSyscall6(trap, fd, uintptr(at), uintptr(len(p)), flags|syscall.MSG_DONTWAIT, 0, 0)
		if err != syscall.EINTR {
			return int(r), err
		}
	}
}

// Write writes what the socket takes at once; n is 0 where it takes nothing
// yet. A peer that is gone is an error, not a signal.
func Write(fd uintptr, p []byte) (n int, err error) {
	n, errno := call(syscall.SYS_SENDTO, fd, p, syscall.MSG_NOSIGNAL)
	switch errno {
	case 0:
		return n, nil
	case syscall.EAGAIN:
		return 0, nil
	}
	return 0, os.NewSyscallError("write", errno)
}

// Read reads what there is; again says that there is nothing yet. n is 0
// without again and error at the end of the stream.
func Read(fd uintptr, p []byte) (n int, again bool, err error) {
	n, errno := call(syscall.SYS_RECVFROM, fd, p, 0)
	switch errno {
	case 0:
		return n, false, nil
	case syscall.EAGAIN:
		return 0, true, nil
	}
	return 0, false, os.NewSyscallError("read", errno)
}

// Peek looks at a socket without taking anything from it. done is false while
// nothing has come; gone says that the stream has ended or the connection
// broken.
func Peek(fd uintptr) (done, gone bool) {
	var one [1]byte
	n, errno := call(syscall.SYS_RECVFROM, fd, one[:], syscall.MSG_PEEK)
	switch errno {
	case 0:
		return true, n == 0
	case syscall.EAGAIN:
		return false, false
	}
	return true, true
}
