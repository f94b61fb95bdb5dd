// Package shop is the made-up shop behind the example backend: a few users, products, posts and orders in memory. Its data
// are the same at every start, and it defends nothing: that is what stands in front of it.
package shop

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Planted begins every secret that the shop holds and nobody should be sent: password hashes, social security numbers, payment
// tokens, staff notes, and what its errors give away. An answer that contains it is a leak.
const Planted = "PLANTED-"

// Shop holds the data. An entity is never changed once stored: a mutation stores a changed copy. Safe for concurrent use.
type Shop struct {
	mu         sync.RWMutex
	users      table[*User]
	products   table[*Product]
	categories table[*Category]
	posts      table[*Post]
	comments   table[*Comment]
	reviews    table[*Review]
	orders     table[*Order]
	notes      table[*InternalNote]
}

type table[T Node] struct {
	rows []T
	next int
}

func (t *table[T]) find(id string) (T, bool) {
	i := slices.IndexFunc(t.rows, func(row T) bool { return row.GetID() == id })
	if i < 0 {
		var none T
		return none, false
	}
	return t.rows[i], true
}

func (t *table[T]) newID(kind string) string {
	t.next++
	return fmt.Sprintf("%s-%d", kind, t.next)
}

func (t *table[T]) put(row T) {
	if i := slices.IndexFunc(t.rows, func(old T) bool { return old.GetID() == row.GetID() }); i >= 0 {
		rows := slices.Clone(t.rows)
		rows[i] = row
		t.rows = rows
		return
	}
	t.rows = append(t.rows[:len(t.rows):len(t.rows)], row)
}

func (t *table[T]) remove(id string) bool {
	rows := slices.DeleteFunc(slices.Clone(t.rows), func(row T) bool { return row.GetID() == id })
	removed := len(rows) < len(t.rows)
	t.rows = rows
	return removed
}

// rowsOf returns the rows as they are now; later changes do not show in the slice.
func rowsOf[T Node](s *Shop, t *table[T]) []T {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return t.rows
}

func lookup[T Node](s *Shop, t *table[T], id string) (T, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return t.find(id)
}

func where[T any](rows []T, keep func(T) bool) []T {
	var kept []T
	for _, row := range rows {
		if keep(row) {
			kept = append(kept, row)
		}
	}
	return kept
}

// upTo takes at face value what the client asked for: nil and negative mean everything, as `LIMIT -1` does in some databases.
func upTo[T any](rows []T, first *int) []T {
	if first == nil || *first < 0 || *first > len(rows) {
		return rows
	}
	return rows[:*first]
}

func cursorOf(id string) string { return base64.StdEncoding.EncodeToString([]byte(id)) }

// page cuts rows by a Relay connection's arguments. An unknown cursor starts from the beginning.
func page[T Node](rows []T, first *int, after *string) ([]T, *PageInfo) {
	from := 0
	if after != nil {
		if id, err := base64.StdEncoding.DecodeString(*after); err == nil {
			from = slices.IndexFunc(rows, func(row T) bool { return row.GetID() == string(id) }) + 1
		}
	}
	cut := upTo(rows[from:], first)
	info := &PageInfo{HasPreviousPage: from > 0, HasNextPage: from+len(cut) < len(rows)}
	if len(cut) > 0 {
		start, end := cursorOf(cut[0].GetID()), cursorOf(cut[len(cut)-1].GetID())
		info.StartCursor, info.EndCursor = &start, &end
	}
	return cut, info
}

// User returns the user with this id, nil when there is none.
func (s *Shop) User(id string) *User { u, _ := lookup(s, &s.users, id); return u }

// Product returns the product with this id, nil when there is none.
func (s *Shop) Product(id string) *Product { p, _ := lookup(s, &s.products, id); return p }

// Post returns the post with this id, nil when there is none.
func (s *Shop) Post(id string) *Post { p, _ := lookup(s, &s.posts, id); return p }

// Order returns the order with this id, nil when there is none.
func (s *Shop) Order(id string) *Order { o, _ := lookup(s, &s.orders, id); return o }

// Categories returns all categories.
func (s *Shop) Categories() []*Category { return rowsOf(s, &s.categories) }

// InternalNotes returns all staff notes.
func (s *Shop) InternalNotes() []*InternalNote { return rowsOf(s, &s.notes) }

// Node finds an entity of any type by the kind that its id begins with; nil when there is none.
func (s *Shop) Node(id string) Node {
	kind, _, _ := strings.Cut(id, "-")
	var found Node
	var ok bool
	switch kind {
	case "user":
		found, ok = lookup(s, &s.users, id)
	case "product":
		found, ok = lookup(s, &s.products, id)
	case "category":
		found, ok = lookup(s, &s.categories, id)
	case "post":
		found, ok = lookup(s, &s.posts, id)
	case "comment":
		found, ok = lookup(s, &s.comments, id)
	case "review":
		found, ok = lookup(s, &s.reviews, id)
	case "order":
		found, ok = lookup(s, &s.orders, id)
	case "note":
		found, ok = lookup(s, &s.notes, id)
	}
	if !ok {
		return nil
	}
	return found
}

// Users returns one page of all users.
func (s *Shop) Users(first *int, after *string) *UserConnection {
	rows := rowsOf(s, &s.users)
	cut, info := page(rows, first, after)
	c := &UserConnection{Edges: []*UserEdge{}, PageInfo: info, TotalCount: len(rows)}
	for _, u := range cut {
		c.Edges = append(c.Edges, &UserEdge{Cursor: cursorOf(u.ID), Node: u})
	}
	return c
}

// Posts returns one page of the posts of author, or of all posts when author is empty.
func (s *Shop) Posts(author string, first *int, after *string) *PostConnection {
	rows := where(rowsOf(s, &s.posts), func(p *Post) bool { return author == "" || p.authorID == author })
	cut, info := page(rows, first, after)
	c := &PostConnection{Edges: []*PostEdge{}, PageInfo: info, TotalCount: len(rows)}
	for _, p := range cut {
		c.Edges = append(c.Edges, &PostEdge{Cursor: cursorOf(p.ID), Node: p})
	}
	return c
}

// Products returns one page of the products that filter keeps; nil keeps all. Unpublished ones are there only when asked for.
func (s *Shop) Products(unpublished bool, filter *ProductFilter, order ProductOrder, first *int, after *string) *ProductConnection {
	rows := where(rowsOf(s, &s.products), func(p *Product) bool { return (unpublished || p.Published) && filter.keeps(p) })
	slices.SortStableFunc(rows, func(a, b *Product) int {
		switch order {
		case ProductOrderPrice:
			return int(a.Price - b.Price)
		case ProductOrderCostPrice:
			return int(a.CostPrice - b.CostPrice)
		default:
			return strings.Compare(a.Name, b.Name)
		}
	})
	cut, info := page(rows, first, after)
	c := &ProductConnection{Edges: []*ProductEdge{}, PageInfo: info, TotalCount: len(rows)}
	for _, p := range cut {
		c.Edges = append(c.Edges, &ProductEdge{Cursor: cursorOf(p.ID), Node: p})
	}
	return c
}

// Search returns products, posts and users, in this order, whose name or text contains text in any case.
func (s *Shop) Search(text string, first *int) []SearchResult {
	matches := func(in ...string) bool {
		return strings.Contains(strings.ToLower(strings.Join(in, "\n")), strings.ToLower(text))
	}
	found := []SearchResult{}
	for _, p := range rowsOf(s, &s.products) {
		if p.Published && matches(p.Name) {
			found = append(found, p)
		}
	}
	for _, p := range rowsOf(s, &s.posts) {
		if matches(p.Title, p.Text) {
			found = append(found, p)
		}
	}
	for _, u := range rowsOf(s, &s.users) {
		if matches(u.Name) {
			found = append(found, u)
		}
	}
	return upTo(found, first)
}

func (f *ProductFilter) keeps(p *Product) bool {
	switch {
	case f == nil:
		return true
	case f.Name != nil && !strings.Contains(strings.ToLower(p.Name), strings.ToLower(*f.Name)),
		f.CategoryID != nil && *f.CategoryID != p.categoryID,
		!f.Price.holds(p.Price), !f.CostPrice.holds(p.CostPrice),
		f.Not != nil && f.Not.keeps(p):
		return false
	}
	for _, part := range f.And {
		if !part.keeps(p) {
			return false
		}
	}
	return len(f.Or) == 0 || slices.ContainsFunc(f.Or, func(part *ProductFilter) bool { return part.keeps(p) })
}

func (r *PriceRange) holds(m Money) bool {
	return r == nil || (r.Min == nil || m >= *r.Min) && (r.Max == nil || m <= *r.Max)
}

// epoch is the instant that all of the shop's dates count from.
var epoch = time.Date(2026, time.January, 1, 9, 0, 0, 0, time.UTC)
