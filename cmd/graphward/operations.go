package main

import (
	"fmt"
	"io"
	"os"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/schema/persisted"
)

type operationsCommand struct {
	Extract operationsExtract `cmd:"" help:"Make a manifest from the GraphQL in source files."`
	Check   operationsCheck   `cmd:"" help:"Judge every registered operation for every persona: what production will say to whom."`
	Diff    operationsDiff    `cmd:"" help:"Say which operations become denied and what they newly read, between two manifests, policies, schemas or configurations."`
	Publish operationsPublish `cmd:"" help:"Judge a manifest and publish it with its index, to a file or to Redis."`
	Unused  operationsUnused  `cmd:"" help:"List registered operations that running firewalls have not seen."`
}

// judged is what check and diff have in common.
type judged struct {
	Persona   []string `help:"Caller to judge for: NAME=FILE of a token's claims (JSON), a folder of NAME.json, or anonymous. May be given again." placeholder:"NAME=FILE" sep:"none"`
	Variables string   `help:"JSON object of variables by operation name; an operation without is judged with the smallest ones that it needs." placeholder:"FILE"`
}

func (j *judged) load() ([]firewall.Persona, map[string][]byte, error) {
	personas, err := firewall.LoadPersonas(j.Persona)
	if err != nil {
		return nil, nil, &exitError{exitFailed, "graphward operations: " + err.Error()}
	}
	variables, err := firewall.LoadVariables(j.Variables)
	if err != nil {
		return nil, nil, &exitError{exitFailed, "graphward operations: " + err.Error()}
	}
	return personas, variables, nil
}

// write gives print the file, or standard output.
func write(c *console, path string, print func(io.Writer) error) error {
	if path == "" || path == "-" {
		return print(c.out)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := print(f); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

func printProblems(c *console, problems []persisted.Problem) {
	for _, p := range problems {
		fmt.Fprintln(c.err, p)
	}
}
