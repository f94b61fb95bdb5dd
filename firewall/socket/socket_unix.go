//go:build unix && (!linux || race)

package socket

import (
	"os"
	"syscall"
)

// Direct says that this platform has the functions of this package.
const Direct = true

// Write writes what the socket takes at once; n is 0 where it takes nothing
// yet.
func Write(fd uintptr, p []byte) (n int, err error) {
	for {
		n, err = syscall.Write(int(fd), p)
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, nil
		default:
			return 0, os.NewSyscallError("write", err)
		}
	}
}

// Read reads what there is; again says that there is nothing yet. n is 0
// without again and error at the end of the stream.
func Read(fd uintptr, p []byte) (n int, again bool, err error) {
	for {
		n, err = syscall.Read(int(fd), p)
		switch err {
		case nil:
			return n, false, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, true, nil
		default:
			return 0, false, os.NewSyscallError("read", err)
		}
	}
}

// Peek looks at a socket without taking anything from it. done is false while
// nothing has come; gone says that the stream has ended or the connection
// broken.
func Peek(fd uintptr) (done, gone bool) {
	var one [1]byte
	for {
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch err {
		case nil:
			return true, n == 0
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false, false
		default:
			return true, true
		}
	}
}
