// Command issuer lays the example out in a folder, where that has not been done yet, and runs its OpenID Connect issuer over TLS:
//
//	go run ./examples/oidc/issuer /tmp/oidc
//
// It gives a token to whoever asks, so keep it on loopback.
package main

import (
	"flag"
	"log"
	"net/http"
	"path/filepath"
	"time"

	"github.com/graphward/graphward/examples/oidc"
	"github.com/graphward/graphward/firewall/identity/identitytest"
)

// listen is the issuer's address, which is its name in graphward.yaml too.
const listen = "127.0.0.1:8444"

func main() {
	log.SetFlags(0)
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: issuer FOLDER")
	}
	if err := run(flag.Arg(0)); err != nil {
		log.Fatal("issuer: ", err)
	}
}

func run(dir string) error {
	config, err := oidc.Lay(dir)
	if err != nil {
		return err
	}
	issuer, err := identitytest.NewIssuer("https://"+listen, "ES256")
	if err != nil {
		return err
	}
	server := &http.Server{Addr: listen, Handler: oidc.Handler(issuer), TLSConfig: config, ReadHeaderTimeout: 10 * time.Second}
	log.Printf("the issuer is %s; the firewall's configuration is %s", issuer.URL, filepath.Join(dir, "graphward.yaml"))
	return server.ListenAndServeTLS("", "")
}
