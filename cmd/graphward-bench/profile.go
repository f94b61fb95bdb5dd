package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
)

// profile records a target's CPU while a burst runs, and what it has allocated
// since it began. The files are WORKLOAD.NAME.{cpu,allocs}.pprof, the last
// round's. The returned function waits for them.
func (r *comparison) profile(ctx context.Context, t *target, w *workload) (wait func() error) {
	if t.profile == "" {
		return func() error { return nil }
	}
	base := filepath.Join(r.command.Profile, w.name+"."+t.name)
	done := make(chan error, 1)
	seconds := max(1, int(r.command.Duration.Seconds()))
	go func() {
		done <- fetch(ctx, "http://"+t.profile+"/debug/pprof/profile?seconds="+strconv.Itoa(seconds), base+".cpu.pprof")
	}()
	return func() error {
		return errors.Join(<-done, fetch(ctx, "http://"+t.profile+"/debug/pprof/allocs", base+".allocs.pprof"))
	}
}

func fetch(ctx context.Context, url, path string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, res.Body)
	return errors.Join(err, file.Close())
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
