package shop

import (
	"fmt"
	"time"
)

// Password opens every account.
const Password = "open sesame"

// Login checks the password. Its error tells the caller far too much.
func (s *Shop) Login(email, password string) (*Session, error) {
	for _, u := range rowsOf(s, &s.users) {
		if u.Email != email {
			continue
		}
		if password != Password {
			return nil, fmt.Errorf("wrong password for %s (stored: %s)", u.ID, u.PasswordHash)
		}
		return &Session{Token: "session-of-" + u.ID, User: u}, nil
	}
	return nil, fmt.Errorf("no account has the address %q", email)
}

// UpdateProfile changes the user's record in whatever the input holds, its role too. No user with this id: an error.
func (s *Shop) UpdateProfile(id string, in ProfileInput) (*User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.users.find(id)
	if !ok {
		return nil, &NotFoundError{ID: id}
	}
	u := *old
	if in.Name != nil {
		u.Name = *in.Name
	}
	if in.Bio != nil {
		u.Bio = in.Bio
	}
	if in.Phone != nil {
		u.Phone = in.Phone
	}
	if in.Address != nil {
		u.Address = in.Address.address()
	}
	if in.Role != nil {
		u.Role = *in.Role
	}
	s.users.put(&u)
	return &u, nil
}

func (a *AddressInput) address() *Address {
	return &Address{Street: a.Street, City: a.City, PostalCode: a.PostalCode, Country: a.Country}
}

// CreatePost stores a post of this author.
func (s *Shop) CreatePost(author string, in PostInput) (*Post, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.users.find(author); !ok {
		return nil, &NotFoundError{ID: author}
	}
	p := &Post{shop: s, ID: s.posts.newID("post"), authorID: author, Title: in.Title, Text: in.Text, Published: s.tick(len(s.posts.rows))}
	s.posts.put(p)
	return p, nil
}

// AddComment stores a comment of this author.
func (s *Shop) AddComment(author, post, text string) (*Comment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.users.find(author); !ok {
		return nil, &NotFoundError{ID: author}
	}
	if _, ok := s.posts.find(post); !ok {
		return nil, &NotFoundError{ID: post}
	}
	c := &Comment{shop: s, ID: s.comments.newID("comment"), postID: post, authorID: author, Text: text}
	s.comments.put(c)
	return c, nil
}

// ReviewProduct stores a review of this author, with any number of stars.
func (s *Shop) ReviewProduct(author, product string, stars int, text *string) (*Review, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.users.find(author); !ok {
		return nil, &NotFoundError{ID: author}
	}
	if _, ok := s.products.find(product); !ok {
		return nil, &NotFoundError{ID: product}
	}
	r := &Review{shop: s, ID: s.reviews.newID("review"), productID: product, authorID: author, Stars: stars, Text: text}
	s.reviews.put(r)
	return r, nil
}

// PlaceOrder stores an order of this customer, at whatever discount and in whatever quantity the input says.
func (s *Shop) PlaceOrder(customer string, in OrderInput) (*Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, ok := s.users.find(customer)
	if !ok {
		return nil, &NotFoundError{ID: customer}
	}
	o := &Order{
		shop: s, ID: s.orders.newID("order"), OwnerID: customer, Status: OrderStatusPlaced, Placed: s.tick(len(s.orders.rows)),
		ShipTo: user.Address, Lines: []*OrderLine{},
	}
	o.PaymentToken = Planted + "payment-of-" + o.ID
	if in.ShipTo != nil {
		o.ShipTo = in.ShipTo.address()
	}
	if in.Discount != nil {
		o.discount = in.Discount.Percent
	}
	for _, line := range in.Lines {
		product, ok := s.products.find(line.ProductID)
		if !ok {
			return nil, &NotFoundError{ID: line.ProductID}
		}
		o.Lines = append(o.Lines, &OrderLine{shop: s, productID: product.ID, Quantity: line.Quantity, Price: product.Price})
	}
	s.orders.put(o)
	return o, nil
}

// CancelOrder marks an order as returned, whoever asks.
func (s *Shop) CancelOrder(id string) (*Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.orders.find(id)
	if !ok {
		return nil, &NotFoundError{ID: id}
	}
	o := *old
	o.Status = OrderStatusReturned
	s.orders.put(&o)
	return &o, nil
}

// PublishProduct shows or hides a product, whoever asks.
func (s *Shop) PublishProduct(id string, published bool) (*Product, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.products.find(id)
	if !ok {
		return nil, &NotFoundError{ID: id}
	}
	p := *old
	p.Published = published
	s.products.put(&p)
	return &p, nil
}

// DeleteUser removes an account, whoever asks, and leaves what it wrote without an author.
func (s *Shop) DeleteUser(id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.users.remove(id) {
		return "", &NotFoundError{ID: id}
	}
	return id, nil
}

// tick is the shop's clock: it depends on how much has happened, never on the day.
func (s *Shop) tick(events int) time.Time { return epoch.Add(time.Duration(events) * time.Hour) }

// NotFoundError says that nothing has the id that a mutation named. An empty ID is a caller without an account.
type NotFoundError struct{ ID string }

func (e *NotFoundError) Error() string { return fmt.Sprintf("nothing has the id %q", e.ID) }
