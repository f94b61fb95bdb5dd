package main

import (
	"context"
	"fmt"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/configfile"
)

type operationsDiff struct {
	Old    string `arg:"" help:"Manifest, policy, schema or configuration as it is." placeholder:"OLD"`
	New    string `arg:"" help:"The same as it is to be." placeholder:"NEW"`
	Of     string `help:"What they are: manifest, policy, schema or config. Default: what they look like." enum:",manifest,policy,schema,config" default:"" placeholder:"KIND"`
	Config string `help:"Configuration in which they take the place of its own; not for two configurations." placeholder:"FILE" default:"graphward.yaml"`
	Client string `help:"With manifests: the client that they belong to." placeholder:"NAME"`
	judged
	JSON bool `name:"json" help:"Print one JSON object."`
}

func (d *operationsDiff) Run(ctx context.Context, c *console) error {
	personas, variables, err := d.load()
	if err != nil {
		return err
	}
	of := d.Of
	if of == "" {
		of = firewall.SideOf(d.Old)
	}
	side := func(path, other string) (*firewall.Matrix, error) {
		base := d.Config
		if of == firewall.SideConfig {
			base = path
		}
		file, err := loadConfig(base)
		if err != nil {
			return nil, err
		}
		m, err := firewall.JudgeOperations(ctx, file.Config.WithSide(of, path, d.Client, other), personas, variables)
		if err != nil {
			return nil, cannotJudge(file, path, err)
		}
		return m, nil
	}
	before, err := side(d.Old, d.New)
	if err != nil {
		return err
	}
	after, err := side(d.New, d.Old)
	if err != nil {
		return err
	}
	diff := firewall.DiffOperations(before, after)
	if d.JSON {
		err = diff.PrintJSON(c.out)
	} else {
		err = diff.Print(c.out)
	}
	if err != nil {
		return err
	}
	if len(diff.Denied) > 0 {
		return &exitError{code: exitRefused}
	}
	return nil
}

func cannotJudge(file *configfile.File, path string, err error) error {
	return &exitError{exitFailed, fmt.Sprintf("%s\ngraphward operations diff: nothing starts with %s", lines(file.Problems(err)), path)}
}
