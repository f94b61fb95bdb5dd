//go:build siege

package main

import (
	"net/http"
	_ "net/http/pprof" //nolint:gosec // in builds for sieges alone
	"os"
)

// A binary of a siege (examples/siege_test.go) shows its profiles on the
// address that GRAPHWARD_PROFILES names. No other build knows of it.
func init() {
	if address := os.Getenv("GRAPHWARD_PROFILES"); address != "" {
		go func() { panic(http.ListenAndServe(address, nil)) }() //nolint:gosec // as above
	}
}
