package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/graphward/graphward/firewall"
)

type operationsCheck struct {
	Config   string `help:"Configuration to judge by." placeholder:"FILE" default:"graphward.yaml"`
	Manifest string `help:"Manifest to judge in place of the configuration's." placeholder:"FILE"`
	Client   string `help:"With --manifest: the client that it belongs to." placeholder:"NAME"`
	judged
	Require []string `help:"Persona that every operation must pass for. Without it each operation must pass for at least one persona." placeholder:"NAME"`
	Format  string   `help:"table, json, sarif or junit." enum:"table,json,sarif,junit" default:"table"`
	Output  string   `short:"o" help:"File to write; default: standard output." placeholder:"FILE"`
}

func (k *operationsCheck) Run(ctx context.Context, c *console) error {
	file, err := loadConfig(k.Config)
	if err != nil {
		return err
	}
	personas, variables, err := k.load()
	if err != nil {
		return err
	}
	for _, name := range k.Require {
		if !slices.ContainsFunc(personas, func(p firewall.Persona) bool { return p.Name == name }) {
			return &exitError{exitFailed, "graphward operations check: no --persona is named " + name}
		}
	}
	config := file.Config
	if k.Manifest != "" {
		config = config.WithSide(firewall.SideManifest, k.Manifest, k.Client, "")
	}
	m, err := firewall.JudgeOperations(ctx, config, personas, variables)
	if err != nil {
		return problems(c, file, err)
	}
	failures := m.Failures(k.Require)
	print := map[string]func(io.Writer, []firewall.MatrixFailure) error{
		"table": m.PrintTable, "json": m.PrintJSON, "sarif": m.PrintSARIF, "junit": m.PrintJUnit,
	}[k.Format]
	if err := write(c, k.Output, func(w io.Writer) error { return print(w, failures) }); err != nil {
		return err
	}
	if len(failures) > 0 {
		return &exitError{exitRefused, fmt.Sprintf("%d of %d operations must pass and do not", failed(failures), len(m.Operations))}
	}
	return nil
}

// failed counts operations: one may fail for several personas.
func failed(failures []firewall.MatrixFailure) int {
	seen := map[*firewall.MatrixOperation]bool{}
	for _, f := range failures {
		seen[f.Operation] = true
	}
	return len(seen)
}
