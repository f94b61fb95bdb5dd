package main

import (
	"context"
	"fmt"

	"github.com/graphward/graphward/firewall"
)

type operationsPublish struct {
	Manifest string `arg:"" help:"Manifest in any format, or a folder of .graphql files." placeholder:"MANIFEST"`
	To       string `help:"File to write (its index beside it, FILE.index) or redis://host:port/db." required:"" placeholder:"FILE|URL"`
	Name     string `help:"With Redis: the name that operations.manifests gives." placeholder:"NAME"`
	Client   string `help:"Client that it belongs to." placeholder:"NAME"`
	Config   string `help:"Configuration whose schema, limits and cost it is judged by." placeholder:"FILE" default:"graphward.yaml"`
	Lenient  bool   `help:"Bad entries do not keep it from being published; firewalls need operations.bad_entries: skip."`
}

func (p *operationsPublish) Run(ctx context.Context, c *console) error {
	file, err := loadConfig(p.Config)
	if err != nil {
		return err
	}
	config := *file.Config
	if p.Lenient {
		config.Operations.BadEntries = firewall.BadSkip
	}
	m := config.WithSide(firewall.SideManifest, p.Manifest, p.Client, "").Operations.Manifests[0]
	for _, configured := range config.Operations.Manifests {
		if p.Name != "" && configured.Name == p.Name {
			m.Client, m.Version, m.Limits, m.Cost = configured.Client, configured.Version, configured.Limits, configured.Cost
		}
	}
	publication, err := firewall.PreparePublication(ctx, &config, m)
	if err != nil {
		return problems(c, file, err)
	}
	printProblems(c, publication.Left)
	where, err := publication.Publish(ctx, p.To, p.Name)
	if err != nil {
		return &exitError{exitFailed, "graphward operations publish: " + err.Error()}
	}
	_, err = fmt.Fprintf(c.out, "%d documents published: %s\n", publication.Documents, where)
	return err
}
