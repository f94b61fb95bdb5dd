package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/graphward/graphward/firewall"
)

type operationsUnused struct {
	Since     string   `help:"How long unused: a number of days (30d) or a duration (12h)." default:"30d" placeholder:"AGE"`
	Admin     []string `help:"URL of an admin listener; may be given again, for every firewall that serves the manifests. Default: admin.listen of --config." placeholder:"URL"`
	TokenFile string   `help:"File with the token of the admin listeners. Default: admin.token_file of --config." placeholder:"FILE"`
	Config    string   `help:"Configuration whose admin listener is asked." placeholder:"FILE" default:"graphward.yaml"`
	JSON      bool     `name:"json" help:"Print one JSON object."`
}

func (u *operationsUnused) Run(ctx context.Context, c *console) error {
	age, err := parseAge(u.Since)
	if err != nil {
		return &exitError{exitFailed, "graphward operations unused: " + err.Error()}
	}
	if len(u.Admin) == 0 {
		file, err := loadConfig(u.Config)
		if err != nil {
			return err
		}
		if file.Config.Admin.Listen == "" {
			return &exitError{exitFailed, u.Config + " has no admin.listen: name the listeners with --admin"}
		}
		u.Admin = []string{"http://" + file.Config.Admin.Listen}
		if u.TokenFile == "" {
			u.TokenFile = file.Config.Admin.TokenFile
		}
	}
	token := ""
	if u.TokenFile != "" {
		text, err := os.ReadFile(u.TokenFile)
		if err != nil {
			return &exitError{exitFailed, err.Error()}
		}
		token = strings.TrimSpace(string(text))
	}
	since := time.Now().Add(-age)
	usage, err := firewall.UnusedOperations(ctx, u.Admin, token, since)
	if err != nil {
		return &exitError{exitFailed, "graphward operations unused: " + err.Error()}
	}
	if u.JSON {
		return printJSON(c, usage)
	}
	for _, o := range usage.Operations {
		seen := "never seen"
		if !o.LastSeen.IsZero() {
			seen = "last seen " + o.LastSeen.Format(time.RFC3339)
		}
		fmt.Fprintf(c.out, "%s\t%s\t%s\t%s\n", o.ID, o.Name, o.Client, seen)
	}
	if usage.Since.After(since) {
		fmt.Fprintf(c.err, "the firewalls count since %s only: what was used before is not known\n", usage.Since.Format(time.RFC3339))
	}
	if usage.Truncated {
		fmt.Fprintln(c.err, "there are more")
	}
	fmt.Fprintf(c.err, "%d of %d registered operations were not used for %s\n", len(usage.Operations), usage.Registered, u.Since)
	return nil
}

// parseAge reads 30d, or a duration of Go.
func parseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is not a number of days such as 30d", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is neither a number of days such as 30d nor a duration such as 12h", s)
	}
	return d, nil
}
