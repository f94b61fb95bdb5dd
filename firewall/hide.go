package firewall

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/schema"
)

// hides reports whether denied fields are answered as unknown ones are
// (responses.hide_denied). Where the mode of FORBIDDEN lets them through there is
// nothing to hide.
func (j *judge) hides() bool {
	return j.g.config.Responses.HideDenied && j.g.policy != nil && j.g.mode(policy.CodeForbidden) == Enforce
}

// hidden is what a client is told of a document that names fields which are
// denied to it: what it would be told if they did not exist. That comes before
// all that is judged of a valid document, so it stands for any other refusal too,
// and for an answer where only what is skipped, or not chosen, names them; nil:
// nothing is to be hidden. v is nil for a document that has no plan.
func (j *judge) hidden(ctx context.Context, v *verdict, text, name string, who *caller) *Refusal {
	shown, err := j.g.policy.Visible(ctx, who.subject, who.request)
	if err != nil {
		return refuse(StagePlan, err)
	}
	names := j.g.views.names(j.g.schema, shown)
	if v == nil || !v.plan.known.has(names) {
		if err := names.Validate(text, name, j.g.compile); err != nil {
			return refuse(StagePlan, err)
		}
		if v != nil {
			v.plan.known.add(names)
		}
	}
	if len(j.refusals) == 0 {
		return nil
	}
	if d := firstField(j.refusals[0].Denials); d != nil {
		return refuse(StagePlan, schema.UnknownField(d.Field.ObjectDefinition.Name, d.Field))
	}
	return nil
}

// knownTo are views of the schema under which one document is valid; the last
// ones that were asked for. The zero value is ready; safe for concurrent use.
type knownTo struct {
	mu    sync.Mutex
	views [4]*schema.View
	next  int
}

func (k *knownTo) has(view *schema.View) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Contains(k.views[:], view)
}

func (k *knownTo) add(view *schema.View) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.views[k.next] = view
	k.next = (k.next + 1) % len(k.views)
}

// firstField returns the denied field that stands first in the document; nil:
// none is a field.
func firstField(denials []policy.Denial) *policy.Denial {
	var first *policy.Denial
	for i := range denials {
		d := &denials[i]
		if d.Kind == policy.DenyField && (first == nil || d.Field.Position.Start < first.Field.Position.Start) {
			first = d
		}
	}
	return first
}

// unfiltered returns the denials that cannot be left to the answer, since a null
// with an error would tell that the field exists: those decided already, without
// a mask. They are sorted as a decision's are.
func (j *judge) unfiltered(guards []policy.Guard) []policy.Denial {
	if !j.hides() {
		return nil
	}
	var out []policy.Denial
	for i := range guards {
		if g := &guards[i]; g.Object == nil && g.Mask == nil {
			out = append(out, g.Denial)
		}
	}
	slices.SortStableFunc(out, func(a, b policy.Denial) int { return cmp.Compare(a.Coordinate, b.Coordinate) })
	return slices.CompactFunc(out, func(a, b policy.Denial) bool { return a.Coordinate == b.Coordinate })
}

// plain returns the guards without the policy's own codes and messages.
func plain(guards []policy.Guard) []policy.Guard {
	out := slices.Clone(guards)
	for i := range out {
		out[i].Denial = out[i].Denial.Plain()
	}
	return out
}
