package budget

import (
	"math/bits"
	"sync"
	"unsafe"
)

// plots is the memory of the shards' tables. Large tables of one size lie side by side, so that the kernel can map them by huge pages:
// with a million clients nearly every call is of another page, and where its address is not known either, finding that out takes as
// long as the call itself. The shards' tables grow in step, because a keyed hash fills them, so that seldom more than one plot is there;
// at worst as much again, of smaller tables.
type plots struct {
	mu   sync.Mutex
	plot [32]plot // by the binary logarithm of a table's length
}

// plot is room for a table of each shard; without entries while none has one.
type plot struct {
	entries []entry
	tables  int
}

// plotted is the length from which on tables lie in plots: 4 MB of them, which hold one huge page at least.
const plotted = (4 << 20) / (shardCount * int(unsafe.Sizeof(entry{})))

// take is a shard's table of a length, a power of two, all free.
func (p *plots) take(shard uint8, length int) []entry {
	if length < plotted {
		return make([]entry, length)
	}
	p.mu.Lock()
	plot := &p.plot[bits.TrailingZeros(uint(length))]
	if plot.entries == nil {
		plot.entries = make([]entry, shardCount*length)
		hugePages(plot.entries, true)
	}
	plot.tables++
	all := plot.entries
	p.mu.Unlock()
	at := int(shard) * length
	table := all[at : at+length : at+length]
	clear(table)
	return table
}

// leave ends the use of a table that take gave.
func (p *plots) leave(table []entry) {
	if len(table) < plotted {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	plot := &p.plot[bits.TrailingZeros(uint(len(table)))]
	if plot.tables--; plot.tables == 0 {
		hugePages(plot.entries, false)
		plot.entries = nil
	}
}

func (p *plots) bytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := int64(0)
	for i := range p.plot {
		sum += int64(len(p.plot[i].entries)) * int64(unsafe.Sizeof(entry{}))
	}
	return sum
}
