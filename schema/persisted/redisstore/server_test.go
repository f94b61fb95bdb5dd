package redisstore

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/graphward/graphward/porttest"
)

// realRedis starts a redis-server of the test's own and returns its URL; "" when there is none, which the log then says. With
// GRAPHWARD_REQUIRE_TOOLS=1 it must be there.
func realRedis(t *testing.T) string {
	t.Helper()
	binary := ""
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			binary = path
			break
		}
	}
	if binary == "" {
		text := "no redis-server or valkey-server in PATH: the store was tried on miniredis alone (apt-get install redis-server)"
		if os.Getenv("GRAPHWARD_REQUIRE_TOOLS") == "1" {
			t.Fatal(text)
		}
		t.Log(text)
		return ""
	}
	port := strconv.Itoa(porttest.Free(t))
	cmd := exec.Command(binary, "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--appendonly", "no", "--daemonize", "no")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	said := []string{}
	for lines.Scan() {
		said = append(said, lines.Text())
		if strings.Contains(lines.Text(), "eady to accept connections") {
			break
		}
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines.Scan() { // else the server stops when the pipe is full
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-drained
		_ = cmd.Wait()
	})
	if len(said) == 0 || !strings.Contains(said[len(said)-1], "eady to accept connections") {
		t.Fatalf("redis-server does not serve: %q", said)
	}
	return "redis://127.0.0.1:" + port + "/0"
}

// A real server gives back what was published: pieces, index and versions, and
// the version before to those who began with it.
func TestRealServer(t *testing.T) {
	url := realRedis(t)
	if url == "" {
		return
	}
	s, err := Open(url)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	first := bytes.Repeat([]byte("0123456789abcdef"), (2*pieceSize+5)/16+1)
	index := bytes.Repeat([]byte{0, 1, 0xff}, pieceSize/2)
	for want, content := range [][]byte{first, []byte("{}"), first[1:]} {
		if v, err := s.Publish(t.Context(), "web", content, index); v != int64(want+1) || err != nil {
			t.Fatal(v, err)
		}
		m, err := s.Fetch(t.Context(), "web", int64(want), 1<<30)
		if err != nil || m.Version != int64(want+1) || !bytes.Equal(m.Content, content) || !bytes.Equal(m.Index, index) {
			t.Fatalf("version %d: %v", want+1, err)
		}
	}
	if m, err := s.Fetch(t.Context(), "web", 3, 1<<30); m != nil || err != nil {
		t.Errorf("what is known was sent again: %v %v", m, err)
	}
	if _, err := s.Fetch(t.Context(), "web", 0, 10); err == nil {
		t.Error("more than the largest size was taken")
	}
}
