package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

type budgetsCommand struct {
	Show  budgetsShow  `cmd:"" help:"Print a client's budgets as JSON."`
	Reset budgetsReset `cmd:"" help:"Make a client's budgets full again."`
}

// budgetsClient says who is asked about, and where.
type budgetsClient struct {
	Client string  `arg:"" help:"subject:ID, api_key:ID, certificate:FINGERPRINT or ip:ADDRESS; a name without a colon is a subject, an address an address." placeholder:"CLIENT"`
	Issuer *string `help:"Issuer of a subject, empty for those of API keys; default: the only one configured."`
	Config string  `help:"Configuration whose admin listener is asked." placeholder:"FILE" default:"graphward.yaml"`
}

type budgetsShow struct{ budgetsClient }

type budgetsReset struct{ budgetsClient }

func (b *budgetsShow) Run(ctx context.Context, c *console) error {
	return b.ask(ctx, c, http.MethodGet)
}

func (b *budgetsReset) Run(ctx context.Context, c *console) error {
	return b.ask(ctx, c, http.MethodDelete)
}

func (b *budgetsClient) ask(ctx context.Context, c *console, method string) error {
	file, err := loadConfig(b.Config)
	if err != nil {
		return err
	}
	admin := file.Config.Admin
	if admin.Listen == "" || admin.TokenFile == "" {
		return &exitError{exitFailed, b.Config + ": admin.listen and admin.token_file are needed: budgets are shown and reset with the token alone"}
	}
	token, err := os.ReadFile(admin.TokenFile)
	if err != nil {
		return &exitError{exitFailed, err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	query := url.Values{"client": {b.Client}}
	if b.Issuer != nil {
		query.Set("issuer", *b.Issuer)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+admin.Listen+"/budgets?"+query.Encode(), nil)
	if err != nil {
		return &exitError{exitFailed, err.Error()}
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return &exitError{exitFailed, "graphward budgets: " + err.Error()}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return &exitError{exitFailed, "graphward budgets: " + err.Error()}
	}
	if res.StatusCode != http.StatusOK {
		return &exitError{exitFailed, "graphward budgets: " + strings.TrimSpace(string(body))}
	}
	_, err = fmt.Fprintln(c.out, strings.TrimSpace(string(body)))
	return err
}
