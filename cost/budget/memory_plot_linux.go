package budget

import (
	"syscall"
	"unsafe"
)

// hugePages asks for the memory of entries to be mapped by huge pages, or as other memory is. Linux does so for those who ask, unless
// its operator forbids it (transparent_hugepage=never); then it is slower and nothing else.
func hugePages(entries []entry, on bool) {
	const size = 2 << 20
	memory := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(entries))), uintptr(len(entries))*unsafe.Sizeof(entry{}))
	before := int(-uintptr(unsafe.Pointer(unsafe.SliceData(memory))) % size)
	if before >= len(memory) {
		return
	}
	memory = memory[before:]
	memory = memory[:len(memory)/size*size]
	advice := syscall.MADV_NOHUGEPAGE
	if on {
		advice = syscall.MADV_HUGEPAGE
	}
	if len(memory) > 0 {
		_ = syscall.Madvise(memory, advice)
	}
}
