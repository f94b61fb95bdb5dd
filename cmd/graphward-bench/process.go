package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
)

// target is a proxy under load: one of our processes or one named by PID.
type target struct {
	name    string
	address string
	pid     int
	guarded bool // refuses hostile requests
}

// clockTick is the unit of the times in /proc/PID/stat: USER_HZ, which the
// kernel's interface fixes at 100 on all of Go's Linux ports.
const clockTick = 10 * time.Millisecond

// cpu returns the CPU time that the process has used, user and system.
func (t *target) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", t.pid))
	if err != nil {
		return 0, err
	}
	// The command's name may hold anything, also spaces and parentheses.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3
	if len(fields) <= stime {
		return 0, fmt.Errorf("/proc/%d/stat is too short", t.pid)
	}
	var ticks int64
	for _, i := range []int{utime, stime} {
		n, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// peakRSS returns the largest resident set in bytes since resetPeak, or since
// the process began where the peak cannot be reset.
func (t *target) peakRSS() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", t.pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(status), "VmHWM:")
	if !ok {
		return 0, fmt.Errorf("/proc/%d/status has no VmHWM", t.pid)
	}
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	return kb << 10, err
}

// resetPeak makes peakRSS begin anew (proc(5), clear_refs 5). A foreign
// process may not allow it.
func (t *target) resetPeak() {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", t.pid), []byte("5"), 0)
}

// processes are the children, ended in reverse order.
type processes struct {
	running []*exec.Cmd
	stderr  io.Writer
	environ []string
}

// start runs a program and waits until ready finds the address in a line of
// its output. The process gets SIGTERM when ctx ends.
func (p *processes) start(ctx context.Context, ready func(line []byte) string, path string, args ...string) (*exec.Cmd, string, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = append(os.Environ(), p.environ...)
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	cmd.Stdout, cmd.Stderr = writer, writer
	err = cmd.Start()
	writer.Close()
	if err != nil {
		reader.Close()
		return nil, "", err
	}
	p.running = append(p.running, cmd)
	address := make(chan string, 1)
	go func() {
		defer reader.Close()
		defer close(address)
		lines := bufio.NewScanner(reader)
		for found := false; lines.Scan(); {
			if a := ready(lines.Bytes()); a != "" && !found {
				found = true
				address <- a
			} else if !bytes.Contains(lines.Bytes(), []byte(`"level":"info"`)) {
				fmt.Fprintf(p.stderr, "  %s\n", lines.Bytes())
			}
		}
	}()
	timer := time.NewTimer(30 * time.Second)
	defer timer.Stop()
	select {
	case a, ok := <-address:
		if !ok {
			return nil, "", fmt.Errorf("%s %s ended before it served", path, strings.Join(args, " "))
		}
		return cmd, a, nil
	case <-timer.C:
		return nil, "", fmt.Errorf("%s %s did not serve within 30 s", path, strings.Join(args, " "))
	}
}

// stop ends the children by their own ids and waits for them.
func (p *processes) stop() error {
	var errs []error
	for i := len(p.running) - 1; i >= 0; i-- {
		cmd := p.running[i]
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
			errs = append(errs, err)
		}
		kill.Stop()
	}
	p.running = nil
	return errors.Join(errs...)
}

// firstLine is ready for the roles of this program.
func firstLine(line []byte) string { return string(bytes.TrimSpace(line)) }

// servingLine is ready for graphward: its log says where it listens.
func servingLine(line []byte) string {
	var entry struct {
		Message string `json:"message"`
		Listen  string `json:"listen"`
	}
	if json.Unmarshal(line, &entry) != nil || entry.Message != "serving" {
		return ""
	}
	return entry.Listen
}
