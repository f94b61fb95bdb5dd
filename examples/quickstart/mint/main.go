// Command mint copies the quickstart to a folder, with a signing key of its own, and prints a token for each person of the examples:
//
//	eval "$(go run ./examples/quickstart/mint shop-firewall)"
//
// Run again with the same folder it leaves the files alone and prints new tokens.
package main

import (
	"flag"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/graphward/graphward/examples/quickstart"
)

func main() {
	log.SetFlags(0)
	ttl := flag.Duration("ttl", 12*time.Hour, "how long the tokens are good")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: mint [-ttl 12h] FOLDER")
	}
	if err := run(flag.Arg(0), *ttl); err != nil {
		log.Fatal("mint: ", err)
	}
}

func run(dir string, ttl time.Duration) error {
	issuer, err := quickstart.Lay(dir)
	if err != nil {
		return err
	}
	for _, person := range quickstart.People {
		token, err := issuer.Token(person, time.Now(), ttl)
		if err != nil {
			return err
		}
		fmt.Printf("export %s=%s\n", strings.ToUpper(person.Name), token)
	}
	return nil
}
