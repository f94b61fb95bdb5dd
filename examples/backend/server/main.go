// Command server runs the example backend on its own, at /graphql: go run ./examples/backend/server
package main

import (
	"flag"
	"log"
	"net/http"
	"time"

	"github.com/graphward/graphward/examples/backend"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:4000", "address to serve on; it protects nothing, so keep it on loopback")
	flag.Parse()
	mux := http.NewServeMux()
	mux.Handle("/graphql", backend.New())
	log.Printf("the example backend listens on http://%s/graphql", *listen)
	server := &http.Server{Addr: *listen, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
