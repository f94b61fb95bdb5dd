// Package porttest finds ports of 127.0.0.1 for the servers of tests.
package porttest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// Below lastPort a port and the one 10,000 above it, which a node of a Redis
// cluster takes for its bus, lie below those that Linux gives to connections.
const (
	firstPort = 10_000
	lastPort  = 20_000
)

// given are the ports that this process was given: a server may be down for a
// while and come back.
var given sync.Map

// Free is a port that is free now, and below those that the system gives to connections: none of them takes it before the server does,
// or while the server is down.
func Free(t testing.TB) int {
	t.Helper()
	most := lastPort
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		var ephemeral int
		if _, err := fmt.Sscan(string(text), &ephemeral); err != nil {
			t.Fatal(err)
		}
		most = min(most, ephemeral)
	}
	for range 100 {
		port := 0 // the system's choice, where it gives all to connections
		if most > firstPort {
			port = firstPort + rand.IntN(most-firstPort)
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		port = l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		if _, twice := given.LoadOrStore(port, true); !twice {
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}
