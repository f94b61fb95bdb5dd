// Command server lays the example out in a folder, where that has not been done yet, and runs the backend over mutual TLS:
//
//	go run ./examples/mtls/server /tmp/mtls
package main

import (
	"errors"
	"flag"
	"io/fs"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/graphward/graphward/examples/backend"
	"github.com/graphward/graphward/examples/mtls"
)

func main() {
	log.SetFlags(0)
	listen := flag.String("listen", "127.0.0.1:4443", "address to serve on")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: server [-listen HOST:PORT] FOLDER")
	}
	if err := run(flag.Arg(0), *listen); err != nil {
		log.Fatal("server: ", err)
	}
}

func run(dir, listen string) error {
	if _, err := os.Stat(filepath.Join(dir, "certs")); errors.Is(err, fs.ErrNotExist) {
		if err := mtls.Lay(dir); err != nil {
			return err
		}
	}
	config, err := mtls.BackendTLS(dir)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/graphql", backend.New())
	server := &http.Server{Addr: listen, Handler: mux, TLSConfig: config, ReadHeaderTimeout: 10 * time.Second}
	log.Printf("the backend listens on https://%s/graphql; the firewall's configuration is %s", listen, filepath.Join(dir, "graphward.yaml"))
	return server.ListenAndServeTLS("", "")
}
