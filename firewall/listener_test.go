package firewall

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

// connPair is a limited connection and its client.
func connPair(t *testing.T) (*limitedConn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l = limitListener(l, 1, time.Minute)
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
		_ = l.Close()
	})
	return server.(*limitedConn), client
}

func TestReadDeadlineIsObeyedWhereverItIsSet(t *testing.T) {
	past := time.Unix(1, 0)
	for name, set := range map[string]func(*limitedConn){
		"before the read": func(c *limitedConn) { _ = c.SetReadDeadline(past) },
		"sooner than the one that stands": func(c *limitedConn) {
			_ = c.SetReadDeadline(time.Now().Add(time.Hour))
			_ = c.apply()
			_ = c.SetDeadline(past)
		},
		"during the read": func(c *limitedConn) {
			_ = c.SetReadDeadline(time.Now().Add(time.Hour))
			go func() { _ = c.SetReadDeadline(past) }()
		},
	} {
		c, _ := connPair(t)
		set(c)
		if _, err := c.Read(make([]byte, 8)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadOutlivesADeadlineThatWasTakenBack(t *testing.T) {
	c, client := connPair(t)
	past := time.Unix(1, 0)
	if err := c.SetReadDeadline(past); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Read(make([]byte, 8)) // so that the connection has it
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(client, "later"); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 8)); n != 5 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestOneByteReads(t *testing.T) {
	c, client := connPair(t)
	ctx := c.watch.begin(t.Context())
	if _, err := io.WriteString(client, "ab"); err != nil {
		t.Fatal(err)
	}
	var one [1]byte
	if n, err := c.Read(one[:]); n != 0 || err != nil {
		t.Errorf("the first read of one byte: %d bytes, %v", n, err)
	}
	if n, err := c.Read(one[:]); n != 1 || err != nil || one[0] != 'a' {
		t.Errorf("the second: %d bytes (%q), %v", n, one[0], err)
	}
	if n, err := c.Read(make([]byte, 2)[:1]); n != 1 || err != nil {
		t.Errorf("one byte of a larger buffer: %d bytes, %v", n, err)
	}
	if err := ctx.Err(); err != nil {
		t.Error(err)
	}
}

// What the client sends while its request runs is its next request; when it
// leaves, the request's context ends.
func TestWatchSeesTheClientLeave(t *testing.T) {
	began, left := make(chan struct{}), make(chan error, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path != "/slow" {
			return
		}
		close(began)
		<-r.Context().Done()
		left <- context.Cause(r.Context())
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ConnContext: withConnection, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(limitListener(l, 4, time.Minute))
	}()
	defer func() { _ = server.Close(); <-done }()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	in := bufio.NewReader(client)
	for _, path := range []string{"/", "/", "/slow"} {
		if _, err := io.WriteString(client, "POST "+path+" HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
			t.Fatal(err)
		}
		if path == "/slow" {
			break
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res, err)
		}
	}
	<-began
	select {
	case err := <-left:
		t.Fatalf("the context ended although the client is there: %v", err)
	default:
	}
	_ = client.Close()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
