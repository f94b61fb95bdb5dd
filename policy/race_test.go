//go:build race

package policy

// raced says that the race detector runs, under which sync.Pool drops at random.
const raced = true
