package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/graphward/graphward/firewall"
)

type explainCommand struct {
	Config    string   `help:"Configuration whose decision is explained." placeholder:"FILE"`
	Schema    string   `help:"Price alone, against this schema, without a configuration." placeholder:"FILE"`
	Query     string   `help:"Document, or @FILE." placeholder:"Q"`
	Document  string   `name:"document-id" help:"Id of a registered document, in place of --query." placeholder:"ID"`
	Operation string   `help:"Operation of the document." placeholder:"NAME"`
	Variables string   `help:"Variables, or @FILE." placeholder:"JSON"`
	Claims    string   `help:"Claims of the caller's token, or @FILE; without them the caller is anonymous." placeholder:"JSON"`
	Issuer    string   `help:"Issuer of the token; default: the first configured." placeholder:"I"`
	Client    string   `help:"Name of the client." placeholder:"C"`
	Version   string   `name:"client-version" help:"Version of the client: manifests may belong to one." placeholder:"V"`
	Header    []string `help:"Request header that the policy may read; may be given again." placeholder:"K:V" sep:"none"`
	JSON      bool     `name:"json" help:"Print one JSON object."`

	Profile         string `help:"With --schema: cost profile." placeholder:"P"`
	DefaultListSize string `help:"With --schema: length of a list that nothing sizes, or none." placeholder:"N|none"`
	Response        string `help:"With --schema: price this response too." placeholder:"@FILE"`
	Batch           string `help:"With --schema: price each line of a file of JSON objects (query, operationName, variables); print a line each." placeholder:"FILE"`
}

func (e *explainCommand) Run(ctx context.Context, c *console) error {
	switch {
	case (e.Config == "") == (e.Schema == ""):
		return &exitError{exitFailed, "graphward explain: give --config F or --schema S"}
	case e.Schema != "" && e.Batch != "":
		return e.priceBatch(c)
	case (e.Query == "") == (e.Document == ""):
		return &exitError{exitFailed, "graphward explain: give --query Q or --document-id ID"}
	case e.Schema != "":
		return e.price(c)
	case e.Profile != "" || e.DefaultListSize != "" || e.Response != "" || e.Batch != "":
		return &exitError{exitFailed, "graphward explain: --profile, --default-list-size, --response and --batch go with --schema; with --config the configuration says them"}
	}
	file, err := loadConfig(e.Config)
	if err != nil {
		return err
	}
	f, err := firewall.New(ctx, file.Config, firewall.Offline())
	if err != nil {
		return &exitError{exitFailed, lines(file.Problems(err))}
	}
	defer f.Close()
	q, err := e.request()
	if err != nil {
		return &exitError{exitFailed, "graphward explain: " + err.Error()}
	}
	out, err := f.Explain(ctx, q)
	if err != nil {
		return &exitError{exitFailed, "graphward explain: " + err.Error()}
	}
	if e.JSON {
		err = printJSON(c, out)
	} else {
		err = out.Print(c.out)
	}
	if err != nil {
		return err
	}
	if !out.Verdict.Allowed {
		return &exitError{code: exitRefused}
	}
	return nil
}

func (e *explainCommand) request() (q firewall.ExplainRequest, err error) {
	q = firewall.ExplainRequest{DocumentID: e.Document, OperationName: e.Operation, Issuer: e.Issuer, Client: e.Client, Version: e.Version, Headers: http.Header{}}
	if q.Query, err = textOrFile(e.Query); err != nil {
		return q, err
	}
	variables, err := textOrFile(e.Variables)
	if err != nil {
		return q, err
	}
	q.Variables = []byte(variables)
	claims, err := textOrFile(e.Claims)
	if err != nil {
		return q, err
	}
	if claims != "" {
		d := json.NewDecoder(strings.NewReader(claims))
		d.UseNumber()
		if err := d.Decode(&q.Claims); err != nil {
			return q, fmt.Errorf("--claims is not a JSON object: %w", err)
		}
	}
	for _, h := range e.Header {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return q, fmt.Errorf("--header %q is not NAME:VALUE", h)
		}
		q.Headers.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return q, nil
}

// textOrFile returns the text, or the content of the file that @FILE names.
func textOrFile(s string) (string, error) {
	name, ok := strings.CutPrefix(s, "@")
	if !ok {
		return s, nil
	}
	b, err := os.ReadFile(name)
	return string(b), err
}

func printJSON(c *console, v any) error {
	enc := json.NewEncoder(c.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
