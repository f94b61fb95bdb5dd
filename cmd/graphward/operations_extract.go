package main

import (
	"fmt"
	"io"

	"github.com/graphward/graphward/schema/persisted"
)

type operationsExtract struct {
	Paths   []string `arg:"" help:"Source files (TypeScript, JavaScript, .graphql) or folders." placeholder:"PATH"`
	Format  string   `help:"apollo: a persisted query manifest. relay: a map from id to text." enum:"apollo,relay" default:"apollo"`
	ID      string   `name:"id" help:"Ids: the sha256 or the md5 of the text." enum:"sha256,md5" default:"sha256"`
	Client  string   `help:"Client that the operations belong to (apollo only)." placeholder:"NAME"`
	Output  string   `short:"o" help:"File to write; default: standard output." placeholder:"FILE"`
	Lenient bool     `help:"Leave out what cannot be extracted; without it nothing is written then."`
}

func (e *operationsExtract) Run(c *console) error {
	if e.Client != "" && e.Format != "apollo" {
		return &exitError{exitFailed, "graphward operations extract: a relay map has no place for --client; say it in operations.manifests"}
	}
	definitions, problems, err := persisted.ExtractFiles(e.Paths...)
	if err != nil {
		return &exitError{exitFailed, "graphward operations extract: " + err.Error()}
	}
	documents, more := persisted.Compose(definitions)
	problems = append(problems, more...)
	printProblems(c, problems)
	if len(problems) > 0 && !e.Lenient {
		return &exitError{exitRefused, fmt.Sprintf("%d problems; nothing was written", len(problems))}
	}
	if len(documents) == 0 {
		return &exitError{exitRefused, "no operation was found"}
	}
	if e.ID == "md5" {
		persisted.MD5(documents)
	}
	for i := range documents {
		documents[i].Client = e.Client
	}
	err = write(c, e.Output, func(w io.Writer) error {
		encode := persisted.AppendManifest
		if e.Format == "relay" {
			encode = persisted.AppendMap
		}
		_, err := w.Write(encode(nil, documents))
		return err
	})
	if err == nil {
		fmt.Fprintf(c.err, "%d operations\n", len(documents))
	}
	return err
}
