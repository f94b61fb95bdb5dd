package cost

import (
	"io"

	"github.com/graphward/graphward/schema"
)

// Actual prices a response.
func (p *Program) Actual(body io.Reader, vars *schema.Variables) (Estimate, error) {
	return Estimate{}, &ApproximateError{Operation: p.operation}
}
