//go:build unix

package socket_test

import (
	"bytes"
	"errors"
	"syscall"
	"testing"

	"github.com/graphward/graphward/firewall/socket"
)

func pair(t *testing.T) (a, b uintptr) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if err := syscall.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Close(fd) })
	}
	return uintptr(fds[0]), uintptr(fds[1])
}

func TestNothingWaits(t *testing.T) {
	a, b := pair(t)
	buf := make([]byte, 1<<20)
	if n, again, err := socket.Read(b, buf); n != 0 || !again || err != nil {
		t.Fatalf("reading nothing: %d, %v, %v", n, again, err)
	}
	if done, _ := socket.Peek(b); done {
		t.Fatal("Peek sees what is not there")
	}
	sent, err := socket.Write(a, buf)
	if err != nil || sent == 0 || sent == len(buf) {
		t.Fatalf("a socket with a buffer took %d, %v", sent, err)
	}
	if n, err := socket.Write(a, buf); n != 0 || err != nil {
		t.Fatalf("writing to a full socket: %d, %v", n, err)
	}
}

func TestBytesAndEnd(t *testing.T) {
	a, b := pair(t)
	if n, err := socket.Write(a, []byte("abc")); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	for range 2 { // looking takes nothing
		if done, gone := socket.Peek(b); !done || gone {
			t.Fatal("Peek does not see three bytes", done, gone)
		}
	}
	buf := make([]byte, 8)
	if n, again, err := socket.Read(b, buf); again || err != nil || !bytes.Equal(buf[:n], []byte("abc")) {
		t.Fatal(n, again, err)
	}
	if err := syscall.Shutdown(int(a), syscall.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	if n, again, err := socket.Read(b, buf); n != 0 || again || err != nil {
		t.Fatal("the end of the stream:", n, again, err)
	}
	if done, gone := socket.Peek(b); !done || !gone {
		t.Fatal("Peek does not see the end", done, gone)
	}
}

// A peer that is gone must be an error: the signal SIGPIPE would end a process
// that does not expect it.
func TestGone(t *testing.T) {
	a, b := pair(t)
	if err := syscall.Shutdown(int(b), syscall.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	if _, err := socket.Write(a, []byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("writing to nobody: %v", err)
	}
	if _, _, err := socket.Read(^uintptr(0), make([]byte, 1)); !errors.Is(err, syscall.EBADF) {
		t.Fatalf("reading from no descriptor: %v", err)
	}
	if done, gone := socket.Peek(^uintptr(0)); !done || !gone {
		t.Fatal("Peek at no descriptor", done, gone)
	}
}
