package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/configfile"
)

type checkCommand struct {
	Config string `help:"Configuration to check." placeholder:"FILE" default:"graphward.yaml"`
	Strict bool   `help:"Warnings are problems too."`
}

func (k *checkCommand) Run(ctx context.Context, c *console) error {
	file, loadErr := configfile.Load(k.Config)
	if file == nil {
		return problems(c, &configfile.File{Path: k.Config}, loadErr)
	}
	// Problems of the file do not hide those of schema, policy and manifests.
	report, err := firewall.Check(ctx, file.Config)
	if err := errors.Join(loadErr, err); err != nil {
		return problems(c, file, err)
	}
	for _, w := range report.Warnings {
		fmt.Fprintln(c.out, "warning:", w)
	}
	for _, o := range report.Operations {
		for _, w := range o.Warnings {
			fmt.Fprintf(c.out, "warning: %s: operation %s: %s\n", o.Source, o.Label(), w)
		}
		for _, why := range o.Refusals {
			fmt.Fprintf(c.out, "%s: operation %s: %s: %s\n", o.Source, o.Label(), why.Code, why.Message)
		}
	}
	if n := report.Refused(); n > 0 {
		return &exitError{exitRefused, fmt.Sprintf("%d registered operations would be refused", n)}
	}
	if k.Strict && len(report.Warnings) > 0 {
		return &exitError{exitRefused, fmt.Sprintf("%d warnings", len(report.Warnings))}
	}
	_, err = fmt.Fprintf(c.out, "%s: ok: %d types, %d registered operations, policy %s\n", k.Config, report.Types, len(report.Operations), report.Policy)
	return err
}

// problems prints every problem with its place; they are the command's result.
func problems(c *console, file *configfile.File, err error) error {
	list := file.Problems(err)
	for _, p := range list {
		fmt.Fprintln(c.out, p)
	}
	noun := "problems"
	if len(list) == 1 {
		noun = "problem"
	}
	return &exitError{exitRefused, fmt.Sprintf("%d %s", len(list), noun)}
}
