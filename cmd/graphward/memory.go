package main

import (
	"io/fs"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/rs/zerolog"
)

// limitMemory sets the Go runtime's soft memory limit to 90 % of what the
// cgroup allows, so that the garbage collector works harder before the kernel
// kills. A limit in GOMEMLIMIT stands; without a cgroup limit there is none.
func limitMemory(log zerolog.Logger) {
	if v := os.Getenv("GOMEMLIMIT"); v != "" {
		log.Info().Str("gomemlimit", v).Msg("the memory limit is GOMEMLIMIT's")
		return
	}
	allowed, file := cgroupMemory(os.DirFS("/"))
	if allowed == 0 {
		log.Info().Msg("no memory limit: neither GOMEMLIMIT nor a cgroup sets one")
		return
	}
	limit := allowed / 10 * 9
	debug.SetMemoryLimit(limit)
	log.Info().Int64("bytes", limit).Int64("cgroup_bytes", allowed).Str("file", file).Msg("the memory limit is 90 % of the cgroup's")
}

// cgroupMemory returns the smallest memory limit, in bytes, on the way from
// this process's cgroup up to the root, and the file that has it; 0 when there
// is none. It reads cgroup v2 (memory.max) and v1 (memory.limit_in_bytes),
// mounted where systemd and container runtimes mount them. A container sees its
// own cgroup at the mount's root, whatever /proc/self/cgroup says, so the root
// is always looked at.
func cgroupMemory(root fs.FS) (bytes int64, file string) {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0, ""
	}
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		mount, name := "sys/fs/cgroup", "memory.max"
		if controllers != "" {
			if controllers != "memory" {
				continue
			}
			mount, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
			candidate := path.Join(mount, dir, name)
			if n := memoryLimit(root, candidate); n > 0 && (bytes == 0 || n < bytes) {
				bytes, file = n, "/"+candidate
			}
			if dir == "/" {
				break
			}
		}
	}
	return bytes, file
}

// unlimited is what cgroup v1 says in place of "max": the largest number of
// whole pages, whatever their size.
const unlimited = 1 << 62

func memoryLimit(root fs.FS, file string) int64 {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n >= unlimited {
		return 0
	}
	return n
}
