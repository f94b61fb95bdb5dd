package main

import (
	"fmt"

	"github.com/graphward/graphward/firewall/configfile"
)

type initCommand struct {
	Schema   string `help:"The schema to protect: an SDL file or folder, or an introspection result (.json)." placeholder:"FILE" required:""`
	Upstream string `help:"URL of the GraphQL server." default:"http://127.0.0.1:4000/graphql"`
	Dir      string `help:"Folder to write to." default:"."`
}

func (i *initCommand) Run(c *console) error {
	written, err := configfile.Init(i.Dir, i.Schema, i.Upstream)
	if err != nil {
		return &exitError{exitFailed, "graphward init: " + err.Error()}
	}
	for _, name := range written {
		fmt.Fprintln(c.out, "wrote", name)
	}
	_, err = fmt.Fprintf(c.out, "\nNext: graphward check --config %s, then graphward serve --config %s\n", written[0], written[0])
	return err
}
