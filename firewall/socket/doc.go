// Package socket does what a connection's descriptor can do without waiting:
// reading, writing and looking. It is called from a function that
// syscall.RawConn runs, whose poller waits where there is nothing to do yet.
//
// On Linux the calls do not tell Go's scheduler of themselves
// (syscall.RawSyscall): they never wait, and a scheduler that is told takes
// the processor away from a goroutine whose call lasts longer than 20 µs, as
// any may on a busy machine, wakes another thread for it and then has to find
// a processor for the first one again.
package socket
