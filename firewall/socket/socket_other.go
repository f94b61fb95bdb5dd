//go:build !unix

package socket

// Direct says that this platform has the functions of this package.
const Direct = false

// Write is not there.
func Write(uintptr, []byte) (n int, err error) { return 0, nil }

// Read is not there.
func Read(uintptr, []byte) (n int, again bool, err error) { return 0, true, nil }

// Peek is not there.
func Peek(uintptr) (done, gone bool) { return true, false }
