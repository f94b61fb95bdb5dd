package audit

import (
	"fmt"
	"strings"
)

// The values of [Config.Output] besides a path.
const (
	Stdout = "stdout"
	Stderr = "stderr"
	Off    = "off"
	File   = "file" // Config.File is the path
)

// The values of [Config.OnFailure].
const (
	Drop   = "drop"
	Refuse = "refuse"
)

// Config says where records go.
type Config struct {
	// Output is `stdout` (default), `stderr`, `off`, or the path of a file to
	// which one JSON object a line is appended. A path has a `/`, a `\` or a
	// `.` in it. SIGHUP opens the file anew, for log rotation.
	Output string `yaml:"output,omitempty"`

	// File is the path for `output: file`, which is the same as the path
	// itself in output.
	File string `yaml:"file,omitempty"`

	// SampleAllowed is the share of allowed operations, from 0 to 1, that is
	// recorded. Default: 1.0. Refusals, errors and what report mode would
	// have refused are always recorded.
	SampleAllowed *float64 `yaml:"sample_allowed,omitempty"`

	// OnFailure says what happens while records cannot be written (a full
	// disk, a reader that is too slow): `drop` (default) loses records and
	// counts them, `refuse` refuses operations.
	OnFailure string `yaml:"on_failure,omitempty"`
}

// Problem is one mistake in a [Config].
type Problem struct {
	Path    string // the key below `audit`
	Message string
}

func (p Problem) String() string { return p.Path + ": " + p.Message }

// ConfigError holds every problem of a config that [New] was given.
type ConfigError struct{ Problems []Problem }

func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "audit: " + strings.Join(lines, "; ")
}

// Validate returns every problem of c, without opening anything.
func (c *Config) Validate() []Problem {
	var p []Problem
	switch c.Output {
	case File:
		if c.File == "" {
			p = append(p, Problem{"file", "is needed with output: file"})
		}
	case "", Stdout, Stderr, Off:
		if c.File != "" {
			p = append(p, Problem{"file", "is for output: file"})
		}
	default:
		if c.File != "" {
			p = append(p, Problem{"file", "is for output: file"})
		}
		if !strings.ContainsAny(c.Output, `/\.`) {
			p = append(p, Problem{"output", fmt.Sprintf("%q is not stdout, stderr, off, file or the path of a file (./%s would be one)", c.Output, c.Output)})
		}
	}
	if s := c.SampleAllowed; s != nil && !(*s >= 0 && *s <= 1) {
		p = append(p, Problem{"sample_allowed", fmt.Sprintf("%v is not from 0 to 1", *s)})
	}
	switch c.OnFailure {
	case "", Drop, Refuse:
	default:
		p = append(p, Problem{"on_failure", fmt.Sprintf("%q is neither drop nor refuse", c.OnFailure)})
	}
	return p
}
