package shop

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
)

// Money is an amount in cents. In GraphQL it is a JSON number with two decimals.
type Money int64

// MarshalGQL writes the amount with both decimals, also when they are zero.
func (m Money) MarshalGQL(w io.Writer) {
	_, _ = fmt.Fprintf(w, "%d.%02d", int64(m)/100, int64(m)%100)
}

// UnmarshalGQL takes a number, or its text, and rounds it to cents.
func (m *Money) UnmarshalGQL(v any) error {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	default:
		text = fmt.Sprint(v)
	}
	euros, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("money: %q is not a number", text)
	}
	*m = Money(math.Round(euros * 100))
	return nil
}

// User is a person with an account. OwnerID is the account's id again, for rules that compare owners.
type User struct {
	shop         *Shop
	ID           string
	OwnerID      string
	Name         string
	Bio          *string
	Role         Role
	Joined       time.Time
	Email        string
	Phone        *string
	Address      *Address
	PasswordHash string
	Ssn          *string
}

// Posts returns one page of what the user wrote.
func (u *User) Posts(first *int, after *string) *PostConnection {
	return u.shop.Posts(u.ID, first, after)
}

// Orders returns the user's first orders.
func (u *User) Orders(first *int) []*Order {
	return upTo(where(rowsOf(u.shop, &u.shop.orders), func(o *Order) bool { return o.OwnerID == u.ID }), first)
}

// Followers returns the users after this one, in a ring: everybody follows everybody, so that selections can go on for ever.
func (u *User) Followers(first *int) []*User {
	rows := rowsOf(u.shop, &u.shop.users)
	var followers []*User
	for i, row := range rows {
		if row.ID == u.ID {
			followers = append(append(followers, rows[i+1:]...), rows[:i]...)
		}
	}
	return upTo(followers, first)
}

// Notes returns what the staff wrote about the user.
func (u *User) Notes() []*InternalNote {
	return where(rowsOf(u.shop, &u.shop.notes), func(n *InternalNote) bool { return n.aboutID == u.ID })
}

// Address is where a user lives or an order goes.
type Address struct{ Street, City, PostalCode, Country string }

// Post is a text in the shop's magazine.
type Post struct {
	shop      *Shop
	authorID  string
	ID        string
	Title     string
	Text      string
	Published time.Time
}

// Author returns who wrote the post, nil when the account is gone.
func (p *Post) Author() *User { return p.shop.User(p.authorID) }

// Comments returns the post's first comments.
func (p *Post) Comments(first *int) []*Comment {
	return upTo(where(rowsOf(p.shop, &p.shop.comments), func(c *Comment) bool { return c.postID == p.ID }), first)
}

// Comment is an answer to a post.
type Comment struct {
	shop             *Shop
	postID, authorID string
	ID, Text         string
}

// Author returns who wrote the comment, nil when the account is gone.
func (c *Comment) Author() *User { return c.shop.User(c.authorID) }

// Post returns what the comment answers.
func (c *Comment) Post() *Post { return c.shop.Post(c.postID) }

// Category groups products.
type Category struct {
	shop     *Shop
	ID, Name string
}

// Products returns the category's first published products.
func (c *Category) Products(first *int) []*Product {
	return upTo(where(rowsOf(c.shop, &c.shop.products), func(p *Product) bool { return p.Published && p.categoryID == c.ID }), first)
}

// Product is for sale once it is published. Attributes holds whatever JSON the supplier sent, unchanged.
type Product struct {
	shop       *Shop
	categoryID string
	ID         string
	Name       string
	Price      Money
	CostPrice  Money
	Published  bool
	Attributes any
}

// Category returns the product's category.
func (p *Product) Category() *Category {
	c, _ := lookup(p.shop, &p.shop.categories, p.categoryID)
	return c
}

// Reviews returns the product's first reviews.
func (p *Product) Reviews(first *int) []*Review {
	return upTo(where(rowsOf(p.shop, &p.shop.reviews), func(r *Review) bool { return r.productID == p.ID }), first)
}

// Related returns other products of the same category.
func (p *Product) Related(first *int) []*Product {
	return upTo(where(rowsOf(p.shop, &p.shop.products), func(other *Product) bool {
		return other.Published && other.categoryID == p.categoryID && other.ID != p.ID
	}), first)
}

// SupplierStatus always fails, with an error that no client should read.
func (p *Product) SupplierStatus() (*string, error) {
	return nil, fmt.Errorf("supplier of %s: %w", p.ID, errDatabase)
}

// Review is a customer's judgement of a product.
type Review struct {
	shop                *Shop
	productID, authorID string
	ID                  string
	Stars               int
	Text                *string
}

// Author returns who wrote the review, nil when the account is gone.
func (r *Review) Author() *User { return r.shop.User(r.authorID) }

// Product returns what the review judges.
func (r *Review) Product() *Product { return r.shop.Product(r.productID) }

// Order is what a customer bought.
type Order struct {
	shop         *Shop
	ID           string
	OwnerID      string
	Status       OrderStatus
	Placed       time.Time
	Lines        []*OrderLine
	ShipTo       *Address
	PaymentToken string
	discount     int
}

// Customer returns who placed the order, nil when the account is gone.
func (o *Order) Customer() *User { return o.shop.User(o.OwnerID) }

// Total is the sum of the lines, less the discount in percent.
func (o *Order) Total() Money {
	var sum Money
	for _, line := range o.Lines {
		sum += line.Price * Money(line.Quantity)
	}
	return sum * Money(100-o.discount) / 100
}

// OrderLine is one product in an order, at the price of that day.
type OrderLine struct {
	shop      *Shop
	productID string
	Quantity  int
	Price     Money
}

// Product returns what was ordered.
func (l *OrderLine) Product() *Product { return l.shop.Product(l.productID) }

// InternalNote is what the support staff wrote about a user, not for the user's eyes.
type InternalNote struct {
	shop              *Shop
	aboutID, authorID string
	ID, Text          string
}

// About returns the user whom the note is about, nil when the account is gone.
func (n *InternalNote) About() *User { return n.shop.User(n.aboutID) }

// Author returns who wrote the note, nil when the account is gone.
func (n *InternalNote) Author() *User { return n.shop.User(n.authorID) }

// The marker methods make the types members of the interface Node and the union SearchResult.

func (u *User) IsNode()         {}
func (p *Post) IsNode()         {}
func (c *Comment) IsNode()      {}
func (c *Category) IsNode()     {}
func (p *Product) IsNode()      {}
func (r *Review) IsNode()       {}
func (o *Order) IsNode()        {}
func (n *InternalNote) IsNode() {}

func (u *User) IsSearchResult()    {}
func (p *Post) IsSearchResult()    {}
func (p *Product) IsSearchResult() {}

func (u *User) GetID() string         { return u.ID }
func (p *Post) GetID() string         { return p.ID }
func (c *Comment) GetID() string      { return c.ID }
func (c *Category) GetID() string     { return c.ID }
func (p *Product) GetID() string      { return p.ID }
func (r *Review) GetID() string       { return r.ID }
func (o *Order) GetID() string        { return o.ID }
func (n *InternalNote) GetID() string { return n.ID }

// Node is an entity of any type. IsNode keeps other types out.
type Node interface {
	IsNode()
	GetID() string
}

// errDatabase is what careless servers send to their clients: an address, a password and a stack.
var errDatabase = errors.New(`dial tcp 10.20.0.7:5432: connect: connection refused (postgres://shop:` + Planted + `database-password@10.20.0.7/suppliers)
goroutine 41 [running]:
shop/suppliers.(*Client).Status(0xc000112000)
	/srv/shop/suppliers/client.go:88 +0x1f4`)

// Diagnostics always fails, with an error that no client should read.
func (s *Shop) Diagnostics() (*string, error) { return nil, fmt.Errorf("diagnostics: %w", errDatabase) }
