package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

type healthcheckCommand struct {
	Config string `help:"Configuration whose admin listener is asked." placeholder:"FILE" xor:"where" required:""`
	URL    string `name:"url" help:"Address of /readyz, in place of --config." placeholder:"URL" xor:"where" required:""`
}

func (h *healthcheckCommand) Run(ctx context.Context, c *console) error {
	url := h.URL
	if h.Config != "" {
		file, err := loadConfig(h.Config)
		if err != nil {
			return err
		}
		if file.Config.Admin.Listen == "" {
			return &exitError{exitFailed, h.Config + ": admin.listen is not set, so there is nobody to ask"}
		}
		url = "http://" + file.Config.Admin.Listen + "/readyz"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return &exitError{exitFailed, err.Error()}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return &exitError{exitRefused, "not ready: " + err.Error()}
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return &exitError{exitRefused, "not ready: " + res.Status}
	}
	_, err = fmt.Fprintln(c.out, "ready")
	return err
}
