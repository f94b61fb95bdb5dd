package main

import (
	"io/fs"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"

	"github.com/rs/zerolog"
)

// limitMemory sets the Go runtime's soft memory limit to 90 % of what the
// cgroup allows, so that the garbage collector works harder before the kernel
// kills. A limit in GOMEMLIMIT stands; without a cgroup limit there is none.
func limitMemory(log zerolog.Logger) {
	if v := os.Getenv("GOMEMLIMIT"); v != "" {
		paceCollector(debug.SetMemoryLimit(-1))
		log.Info().Str("gomemlimit", v).Msg("the memory limit is GOMEMLIMIT's")
		return
	}
	allowed, file := cgroupMemory(os.DirFS("/"))
	if allowed == 0 {
		paceCollector(0)
		log.Info().Msg("no memory limit: neither GOMEMLIMIT nor a cgroup sets one")
		return
	}
	limit := allowed / 10 * 9
	debug.SetMemoryLimit(limit)
	paceCollector(limit)
	log.Info().Int64("bytes", limit).Int64("cgroup_bytes", allowed).Str("file", file).Msg("the memory limit is 90 % of the cgroup's")
}

// heapFloor is up to where the heap may grow before garbage is collected, where
// memory is not limited; else it is a sixteenth of the limit, if that is less.
const heapFloor = 64 << 20

// paceCollector lets garbage gather to heapFloor. Go collects whenever the heap
// has doubled; a firewall that holds little doubles it many times a second, and
// each time walks all cached plans. A GOGC in the environment stands.
func paceCollector(limit int64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	floor := int64(heapFloor)
	if limit > 0 {
		floor = min(floor, limit/16)
	}
	const smallest = 4 << 20 // the heap at which Go begins, at GOGC=100
	p := &pacer{floor: floor, percent: max(100, int(100*floor/smallest))}
	debug.SetGCPercent(p.percent)
	p.watch()
}

// pacer sets GOGC after each collection so that the next one comes at the
// floor, or, where more is live, when four times the floor has gathered: a flood
// of new documents would else have all cached plans walked several times a
// second. At most the live bytes are trebled; they are always doubled.
type pacer struct {
	floor   int64
	percent int
}

// watch uses that a finalizer runs after a collection has found its object
// unused.
func (p *pacer) watch() {
	runtime.SetFinalizer(&struct{ p *pacer }{p}, func(*struct{ p *pacer }) {
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(sample)
		if next := gcPercent(p.floor, int64(sample[0].Value.Uint64())); next != p.percent {
			p.percent = next
			debug.SetGCPercent(next)
		}
		p.watch()
	})
}

// gcPercent is the GOGC for a heap with so many live bytes. It is rounded, since
// each change stops the world for a moment.
func gcPercent(floor, live int64) int {
	held := max(live, 1<<20)
	percent := max(100*(floor-live)/held, min(200, 400*floor/held))
	return int(min(max(100, percent/50*50), 6400))
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
