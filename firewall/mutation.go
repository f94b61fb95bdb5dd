//go:build mutation

package firewall

import "os"

var mutation = os.Getenv("GRAPHWARD_MUTATION")

// mutated says whether a defence is switched off: a refusal code, or one of the
// names in mutation_test.go.
func mutated(defence string) bool { return defence == mutation }
