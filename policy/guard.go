package policy

import (
	"context"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// Guard is what the answer must be guarded against at one field node of the
// document, for some object types that its parent may have. No two guards of a
// decision share a node and a type. A node and a type without a guard is allowed.
type Guard struct {
	// Field is the selection in the operation's document.
	Field *ast.Field
	// Types are the object types for which the guard holds; never empty.
	Types schema.TypeSet
	// Whole says that Types holds every object type that the parent may have
	// wherever the document reaches Field, so that no __typename is needed.
	Whole bool
	// Denial is what the client and the audit are told of a denied position.
	Denial Denial
	// Object decides for each parent object; nil: denied already.
	Object *ObjectRule
	// Mask replaces the value of a denied position; nil: it becomes null.
	Mask *Mask
}

// ObjectRule is a rule that reads input.parent, with everything else that it
// reads (subject, request, operation, arguments) bound. Safe for concurrent use.
type ObjectRule struct {
	// Head names the rule and its place.
	Head Rule
	// Parents are the fields of the parent that the rule reads, by every object
	// type that it governs: what the answer must be asked for on a guard's
	// types. For the same coordinates of an engine it is the same slice.
	Parents []ParentFields

	judge func(ctx context.Context, parents [][]byte) ([]bool, error)
}

// ParentFields are the fields that a rule reads of one object type.
type ParentFields struct {
	Type   *ast.Definition // an object type
	Fields []ParentField
}

// ParentField is a field of a parent that a rule reads. It takes no arguments.
type ParentField struct {
	Definition *ast.FieldDefinition
	// Fields are read below it, by possible object type; nil for a leaf.
	Fields []ParentFields
}

// Judge decides the rule for each parent object, given as JSON objects that hold
// the fields of Parents under their own names, and nothing else: a field that
// the upstream failed to give is absent, and what the rule then cannot decide is
// denied. Errors are *TimeoutError, *EvalError and ctx's: deny all.
func (r *ObjectRule) Judge(ctx context.Context, parents [][]byte) ([]bool, error) {
	return r.judge(ctx, parents)
}
