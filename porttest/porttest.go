// Package porttest finds ports of 127.0.0.1 for the servers of tests.
package porttest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
)

// Free is a port that is free now, and below those that the system gives to connections: none of them takes it before the server does,
// or while the server is down.
func Free(t testing.TB) int {
	t.Helper()
	least, most := 10_000, 32_768
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if _, err := fmt.Sscan(string(text), &most); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		port := 0 // the system's choice, where it gives all to connections
		if most > least {
			port = least + rand.IntN(most-least)
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		return l.Addr().(*net.TCPAddr).Port
	}
	t.Fatal("no port is free")
	return 0
}
