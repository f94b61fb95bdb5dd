//go:build unix

package upstream

import "syscall"

// quiet reports whether a socket lives and has nothing to read, without waiting
// and without taking anything from it.
func quiet(fd uintptr) bool {
	var one [1]byte
	_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
}
