//go:build unix

package firewall

import "syscall"

const canPeek = true

// peek looks at a socket without waiting and without taking anything from it.
// done is false while nothing has come.
func peek(fd uintptr) (done, gone bool) {
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
