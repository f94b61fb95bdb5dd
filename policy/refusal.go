package policy

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/graphward/graphward/schema"
)

// reservedCodes are the refusal codes of the firewall itself (DESIGN.md
// section 7). A policy that used one could not be told from it.
var reservedCodes = map[string]bool{
	"GRAPHQL_VALIDATION_FAILED": true, "BAD_VARIABLES": true, "TOKEN_LIMIT": true, "FRAGMENT_LIMIT": true,
	"VALUE_LIMIT": true, "COMPLEXITY_LIMIT": true, "PERSISTED_ID_MISMATCH": true, "PERSISTED_QUERY_NOT_SUPPORTED": true,
	"SUBSCRIPTION_NOT_SUPPORTED": true, "DEPTH_LIMIT": true, "ALIAS_LIMIT": true, "ROOT_FIELD_LIMIT": true,
	"DIRECTIVE_LIMIT": true, "COST_LIMIT": true, "PAGE_SIZE": true, "BAD_REQUEST": true, "GRAPHQL_PARSE_FAILED": true,
	"CSRF": true, "BATCH_LIMIT": true, "UNAUTHENTICATED": true, "FORBIDDEN": true, "INTROSPECTION_DISABLED": true,
	"OPERATION_NOT_ALLOWED": true, "PERSISTED_QUERY_NOT_FOUND": true, "NOT_FOUND": true, "METHOD_NOT_ALLOWED": true,
	"NOT_ACCEPTABLE": true, "REQUEST_TIMEOUT": true, "BODY_LIMIT": true, "URL_LIMIT": true, "UNSUPPORTED_MEDIA_TYPE": true,
	"HEADER_LIMIT": true, "BUDGET_EXCEEDED": true, "CONCURRENCY_LIMIT": true, "INTERNAL": true, "POLICY_TIMEOUT": true,
	"UPSTREAM_ERROR": true, "OVERLOADED": true, "UPSTREAM_TIMEOUT": true,
}

// custom puts the policy's code and message into a denial. A string is a
// message. A code that is computed to a reserved one is dropped.
func custom(d *Denial, t *ast.Term) {
	if t == nil {
		return
	}
	if s, ok := t.Value.(ast.String); ok {
		d.Message = string(s)
		return
	}
	if code, ok := text(member(t, "code")); ok && code != "" && !reservedCodes[code] {
		d.Code = code
	}
	if message, ok := text(member(t, "message")); ok {
		d.Message = message
	}
}

func text(t *ast.Term) (string, bool) {
	if t == nil {
		return "", false
	}
	s, ok := t.Value.(ast.String)
	return string(s), ok
}

// explainDenial fills in code and message: the default, then the policy's.
func (s *session) explainDenial(b *Binding, d *Denial) error {
	d.Code = CodeForbidden
	switch d.Kind {
	case DenyIntrospection:
		d.Code, d.Message = CodeIntrospection, "Introspection is disabled"
		return nil
	case DenyArgument:
		d.Message = "You may not use the argument " + d.Coordinate
	case DenyInput:
		d.Message = "You may not use the input field " + d.Coordinate
	default:
		d.Message = fieldMessage(d.Coordinate)
	}
	return s.customize(b, d)
}

// customize puts the code and message in that the policy has for a denial.
func (s *session) customize(b *Binding, d *Denial) error {
	if s.engine.errors.empty() && len(s.engine.argumentError) == 0 {
		return nil
	}
	s.facts.use, s.facts.value = &b.op.Uses[d.use], schema.Value{}
	t, err := s.customError(strings.Split(d.Coordinate, "."))
	if err != nil {
		return err
	}
	custom(d, t)
	return nil
}

// customError looks the policy's error up, in the order in which allow is. An
// argument without one of its own has its field's.
func (s *session) customError(path []string) (*ast.Term, error) {
	if len(path) == 3 {
		if c := s.engine.argumentError[argumentKey{path[0], path[1], path[2]}]; c != nil {
			return s.value(c)
		}
	}
	return s.find(&s.engine.errors, coordinate{path[0], path[1]})
}
