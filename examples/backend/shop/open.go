package shop

import (
	"encoding/json"
	"fmt"
	"time"
)

// Open returns a shop filled with the same data each time: 12 users (user-1 … user-12; user-1 is the administrator, user-2 works
// for support), 40 products in 4 categories (every tenth unpublished), 30 posts, 60 comments, 80 reviews, 24 orders, 6 notes.
func Open() *Shop {
	s := new(Shop)
	s.addUsers()
	s.addProducts()
	s.addPosts()
	s.addOrders()
	return s
}

var people = []string{
	"Ada Ngata", "Bruno Sato", "Cleo Marin", "Dara Okafor", "Emil Novak", "Farah Haddad",
	"Goran Lind", "Hana Kim", "Ivo Rossi", "Jun Weber", "Kaya Demir", "Lea Moreau",
}

func (s *Shop) addUsers() {
	for i, name := range people {
		id := s.users.newID("user")
		phone, ssn := fmt.Sprintf("+49 30 5550%02d", i), fmt.Sprintf(Planted+"ssn-%03d-00-1234", i)
		u := &User{
			shop: s, ID: id, OwnerID: id, Name: name, Role: RoleCustomer, Joined: epoch.AddDate(-2, i, 0),
			Email: id + "@shop.example", Phone: &phone, Ssn: &ssn, PasswordHash: Planted + "hash-" + id,
			Address: &Address{Street: fmt.Sprintf("Hafenstraße %d", i+1), City: "Kiel", PostalCode: "24103", Country: "DE"},
		}
		switch i {
		case 0:
			u.Role = RoleAdmin
		case 1:
			u.Role = RoleSupport
		}
		s.users.put(u)
	}
	for i := range 6 {
		s.notes.put(&InternalNote{
			shop: s, ID: s.notes.newID("note"), aboutID: s.users.rows[i+2].ID, authorID: "user-2",
			Text: fmt.Sprintf(Planted+"note: asked for %d refunds last year", i+1),
		})
	}
}

func (s *Shop) addProducts() {
	kinds := []string{"Lamp", "Chair", "Table", "Shelf"}
	for _, name := range []string{"Lamps", "Chairs", "Tables", "Shelves"} {
		s.categories.put(&Category{shop: s, ID: s.categories.newID("category"), Name: name})
	}
	adjectives := []string{"Amber", "Birch", "Cobalt", "Dune", "Ember", "Fjord", "Grove", "Harbor", "Iris", "Juniper"}
	for i := range 40 {
		category := s.categories.rows[i%4]
		price := Money(1990 + 750*i)
		s.products.put(&Product{
			shop: s, ID: s.products.newID("product"), categoryID: category.ID,
			Name:  adjectives[i/4] + " " + kinds[i%4],
			Price: price, CostPrice: price * 2 / 5, Published: i%10 != 9,
			// The barcode is 2^53 + 1 and more: a number that a reader of float64s would change.
			Attributes: json.RawMessage(fmt.Sprintf(`{"barcode":%d,"width_cm":%d.50,"tags":["oak","<new>"]}`, 9007199254740993+2*i, 40+i)),
		})
	}
	for i := range 80 {
		review := &Review{
			shop: s, ID: s.reviews.newID("review"), productID: s.products.rows[i%40].ID,
			authorID: s.users.rows[2+i%10].ID, Stars: 1 + i%5,
		}
		if i%3 != 0 {
			text := fmt.Sprintf("Stood up well for %d months.", 1+i%12)
			review.Text = &text
		}
		s.reviews.put(review)
	}
}

func (s *Shop) addPosts() {
	for i := range 30 {
		s.posts.put(&Post{
			shop: s, ID: s.posts.newID("post"), authorID: s.users.rows[i%12].ID,
			Title: fmt.Sprintf("Living well, part %d", i+1), Text: "A lamp in the right place does more than two in the wrong ones.",
			Published: epoch.Add(time.Duration(i) * 24 * time.Hour),
		})
	}
	for i := range 60 {
		s.comments.put(&Comment{
			shop: s, ID: s.comments.newID("comment"), postID: s.posts.rows[i%30].ID, authorID: s.users.rows[(i+5)%12].ID,
			Text: "So true.",
		})
	}
}

func (s *Shop) addOrders() {
	for i := range 24 {
		user := s.users.rows[i%12]
		o := &Order{
			shop: s, ID: s.orders.newID("order"), OwnerID: user.ID, Status: AllOrderStatus[i%4],
			Placed: epoch.Add(time.Duration(i) * 7 * time.Hour), ShipTo: user.Address,
			PaymentToken: fmt.Sprintf(Planted+"payment-%04d", 4000+i),
		}
		for j := range 1 + i%3 {
			product := s.products.rows[(i*3+j)%40]
			o.Lines = append(o.Lines, &OrderLine{shop: s, productID: product.ID, Quantity: 1 + j, Price: product.Price})
		}
		s.orders.put(o)
	}
}
