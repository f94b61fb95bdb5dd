package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"os/exec"
	"slices"
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
	guarded bool   // refuses hostile requests
	metrics string // URL of its metrics; empty: none
	profile string // where it serves profiles; empty: nowhere
}

// at takes the addresses that a ready line holds.
func (t *target) at(addresses string) {
	var admin string
	t.address, admin, _ = strings.Cut(addresses, " ")
	if admin != "" {
		t.metrics = "http://" + admin + "/metrics"
	}
}

// cpu returns the CPU time that the process has used, user and system, from
// its threads' schedstat, which counts nanoseconds. What ended threads have used
// is missing; Go ends none while it serves.
func (t *target) cpu() (time.Duration, error) {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", t.pid))
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, thread := range threads {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", t.pid, thread.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		used, _, _ := strings.Cut(string(stat), " ")
		n, err := strconv.ParseInt(used, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("schedstat of %d: %w", t.pid, err)
		}
		total += time.Duration(n)
	}
	return total, nil
}

// mallocs returns how many objects the process has allocated since it began,
// by what it says itself; NaN for a target that says nothing.
func (t *target) mallocs(ctx context.Context) (float64, error) {
	if t.metrics == "" {
		return math.NaN(), nil
	}
	return t.metric(ctx, mallocsMetric)
}

// metric returns the value of one series, named with its labels as it is
// printed.
func (t *target) metric(ctx context.Context, series string) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.metrics, nil)
	if err != nil {
		return 0, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", t.metrics, series)
}

const mallocsMetric = "go_memstats_mallocs_total"

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
func (p *processes) start(ctx context.Context, ready func(line []byte) string, environ []string, path string, args ...string) (*exec.Cmd, string, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = slices.Concat(os.Environ(), p.environ, environ)
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

// firstLine is ready for the roles of this program: data, then metrics.
func firstLine(line []byte) string { return string(bytes.TrimSpace(line)) }

// servingLine is ready for graphward: its log says where it listens, first for
// data, then for metrics.
func servingLine(line []byte) string {
	var entry struct {
		Message string `json:"message"`
		Listen  string `json:"listen"`
		Admin   string `json:"admin"`
	}
	if json.Unmarshal(line, &entry) != nil || entry.Message != "serving" {
		return ""
	}
	return entry.Listen + " " + entry.Admin
}
