package main

import (
	"testing"
	"testing/fstest"
)

func TestCgroupMemory(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
		file  string
	}{
		"v2 container": {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n"},
			536870912, "/sys/fs/cgroup/memory.max"},
		"v2 service, the parent is tighter": {map[string]string{"proc/self/cgroup": "0::/system.slice/graphward.service\n",
			"sys/fs/cgroup/system.slice/graphward.service/memory.max": "900000000\n", "sys/fs/cgroup/system.slice/memory.max": "800000000\n"},
			800000000, "/sys/fs/cgroup/system.slice/memory.max"},
		"v2 without a limit": {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 0, ""},
		"v1": {map[string]string{"proc/self/cgroup": "5:cpu:/\n4:memory:/pod/one\n0::/\n",
			"sys/fs/cgroup/memory/pod/one/memory.limit_in_bytes": "268435456\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
			268435456, "/sys/fs/cgroup/memory/pod/one/memory.limit_in_bytes"},
		"v1 container, whose path is the host's": {map[string]string{"proc/self/cgroup": "4:memory:/docker/abc\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n"}, 268435456, "/sys/fs/cgroup/memory/memory.limit_in_bytes"},
		"v1 without a limit": {map[string]string{"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0, ""},
		"broken":             {map[string]string{"proc/self/cgroup": "nonsense\n0::\n", "sys/fs/cgroup/memory.max": "lots\n"}, 0, ""},
		"no proc":            {nil, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{}
			for path, text := range c.files {
				root[path] = &fstest.MapFile{Data: []byte(text)}
			}
			if got, file := cgroupMemory(root); got != c.want || file != c.file {
				t.Errorf("%d from %q, want %d from %q", got, file, c.want, c.file)
			}
		})
	}
}

func TestGCPercent(t *testing.T) {
	for _, c := range []struct {
		floor, live int64
		want        int
	}{
		{64 << 20, 0, 6400},
		{64 << 20, 8 << 20, 700},
		{64 << 20, 31 << 20, 200},
		{64 << 20, 64 << 20, 200},
		{64 << 20, 128 << 20, 200},
		{64 << 20, 160 << 20, 150},
		{64 << 20, 1 << 30, 100},
		{1 << 20, 0, 200},
		{1 << 20, 64 << 20, 100},
	} {
		if got := gcPercent(c.floor, c.live); got != c.want {
			t.Errorf("%d live of %d: GOGC=%d, want %d", c.live, c.floor, got, c.want)
		}
	}
}
