//go:build profile

package main

import (
	"net/http"
	"net/http/pprof"
	"os"
	"runtime"
)

// Built with -tags profile alone, which no release is: pprof on the address in
// GRAPHWARD_PROFILE, apart from both listeners. graphward-bench asks for it.
func init() {
	address := os.Getenv("GRAPHWARD_PROFILE")
	if address == "" {
		return
	}
	runtime.MemProfileRate = 16 << 10
	mux := http.NewServeMux()
	mux.HandleFunc("/profile", pprof.Profile)
	mux.Handle("/allocs", pprof.Handler("allocs"))
	go func() { _ = http.ListenAndServe(address, mux) }()
}
