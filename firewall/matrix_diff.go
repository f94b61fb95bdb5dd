package firewall

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// OperationsDiff is what changes for registered operations between two
// manifests, policies, schemas or whole configurations.
type OperationsDiff struct {
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	// Changed have another text under the same name and client.
	Changed []string `json:"changed"`
	// Denied and Allowed are operations of both sides whose verdict changed.
	Denied  []ChangedVerdict `json:"denied"`
	Allowed []ChangedVerdict `json:"allowed"`
	// Reads are coordinates that operations of both sides, or new ones, newly
	// select.
	Reads []NewRead `json:"reads"`
}

// ChangedVerdict is an operation that a persona newly may, or may no longer, use.
type ChangedVerdict struct {
	Persona   string `json:"persona"` // empty: whoever asks
	Operation string `json:"operation"`
	Reason    string `json:"reason,omitzero"`
	Code      string `json:"code,omitzero"`
	Depends   bool   `json:"depends,omitzero"` // on the variables
}

// NewRead is a coordinate and the operations that newly select it.
type NewRead struct {
	Coordinate string   `json:"coordinate"`
	Operations []string `json:"operations"`
}

// DiffOperations compares two matrices of the same personas. Operations are the
// same when client, version and name are, where names are not repeated, and else
// when client, version and id are.
func DiffOperations(before, after *Matrix) *OperationsDiff {
	d := &OperationsDiff{Added: []string{}, Removed: []string{}, Changed: []string{}, Denied: []ChangedVerdict{}, Allowed: []ChangedVerdict{}, Reads: []NewRead{}}
	repeated := map[string]bool{}
	for _, m := range []*Matrix{before, after} {
		seen := map[string]bool{}
		for i := range m.Operations {
			key := m.Operations[i].key(nil)
			repeated[key] = repeated[key] || seen[key]
			seen[key] = true
		}
	}
	old := map[string]*MatrixOperation{}
	for i := range before.Operations {
		old[before.Operations[i].key(repeated)] = &before.Operations[i]
	}
	reads := map[string][]string{}
	kept := map[string]bool{}
	for i := range after.Operations {
		o := &after.Operations[i]
		key := o.key(repeated)
		was := old[key]
		kept[key] = true
		label := o.owner()
		var known []string
		if was == nil {
			d.Added = append(d.Added, label)
		} else {
			if was.Text != o.Text {
				d.Changed = append(d.Changed, label)
			}
			d.verdicts(label, was, o)
			known = was.Reads
		}
		for _, c := range o.Reads {
			if _, found := slices.BinarySearch(known, c); !found {
				reads[c] = append(reads[c], label)
			}
		}
	}
	for i := range before.Operations {
		if o := &before.Operations[i]; !kept[o.key(repeated)] {
			d.Removed = append(d.Removed, o.owner())
		}
	}
	for c, ops := range reads {
		d.Reads = append(d.Reads, NewRead{c, ops})
	}
	slices.SortFunc(d.Reads, func(a, b NewRead) int { return cmp.Compare(a.Coordinate, b.Coordinate) })
	byPersona := func(a, b ChangedVerdict) int { return cmp.Compare(a.Persona, b.Persona) }
	slices.SortStableFunc(d.Denied, byPersona)
	slices.SortStableFunc(d.Allowed, byPersona)
	return d
}

// key is what an operation is known by on both sides.
func (o *MatrixOperation) key(repeated map[string]bool) string {
	key := o.Client + "\x00" + o.Version + "\x00" + o.Name
	if o.Name == "" || repeated[key] {
		return key + "\x00" + o.ID
	}
	return key
}

func (o *MatrixOperation) owner() string {
	label := o.Label()
	if o.Client == "" {
		return label
	}
	if o.Version != "" {
		return o.Client + "@" + o.Version + "/" + label
	}
	return o.Client + "/" + label
}

// verdicts compares what holds for whoever asks and, where that is nothing on
// both sides, for each persona.
func (d *OperationsDiff) verdicts(label string, was, is *MatrixOperation) {
	if len(was.Refusals) > 0 || len(is.Refusals) > 0 {
		switch {
		case len(was.Refusals) == 0:
			d.Denied = append(d.Denied, ChangedVerdict{"", label, is.Refusals[0].String(), is.Refusals[0].Code, false})
		case len(is.Refusals) == 0:
			d.Allowed = append(d.Allowed, ChangedVerdict{"", label, "", "", false})
		}
		return
	}
	for i := range is.Cells {
		a, b := &was.Cells[i], &is.Cells[i]
		switch {
		case a.Verdict == b.Verdict:
		case b.Verdict == VerdictRefused || b.Verdict == VerdictDepends && a.Verdict == VerdictAllowed:
			r := b.Refusals[0]
			d.Denied = append(d.Denied, ChangedVerdict{b.Persona, label, r.String(), r.Code, b.Verdict == VerdictDepends})
		case b.Verdict == VerdictAllowed || b.Verdict == VerdictDepends && a.Verdict == VerdictRefused:
			d.Allowed = append(d.Allowed, ChangedVerdict{b.Persona, label, "", "", b.Verdict == VerdictDepends})
		}
	}
}

// Print writes the difference for people, nothing when there is none.
func (d *OperationsDiff) Print(w io.Writer) error {
	var b strings.Builder
	list := func(what string, labels []string) {
		if len(labels) > 0 {
			fmt.Fprintf(&b, "%s %s: %s\n", counted(len(labels), "operation"), what, strings.Join(labels, ", "))
		}
	}
	list("added", d.Added)
	list("removed", d.Removed)
	list("changed", d.Changed)
	verdicts(&b, d.Denied, "denied")
	verdicts(&b, d.Allowed, "allowed")
	for _, r := range d.Reads {
		verb := " newly read "
		if len(r.Operations) == 1 {
			verb = " newly reads "
		}
		fmt.Fprintf(&b, "%s%s%s: %s\n", counted(len(r.Operations), "operation"), verb, r.Coordinate, strings.Join(r.Operations, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func verdicts(b *strings.Builder, all []ChangedVerdict, what string) {
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Persona == all[0].Persona {
			n++
		}
		who, verb := all[0].Persona, "become"
		if who == "" {
			who = "whoever asks"
		}
		if n == 1 {
			verb = "becomes"
		}
		fmt.Fprintf(b, "%s %s %s for %s:\n", counted(n, "operation"), verb, what, who)
		for _, c := range all[:n] {
			line := "  " + c.Operation
			if c.Depends {
				line += " (depends on the variables)"
			}
			if c.Reason != "" {
				line += ": " + c.Reason
			}
			fmt.Fprintln(b, line)
		}
		all = all[n:]
	}
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// PrintJSON writes the difference as one JSON object.
func (d *OperationsDiff) PrintJSON(w io.Writer) error { return encodeJSON(w, d) }
