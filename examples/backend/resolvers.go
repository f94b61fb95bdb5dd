package backend

import (
	"context"
	"time"

	"github.com/graphward/graphward/examples/backend/graph"
	"github.com/graphward/graphward/examples/backend/shop"
)

type resolvers struct{ shop *shop.Shop }

var _ graph.ResolverRoot = (*resolvers)(nil)

func (r *resolvers) Query() graph.QueryResolver               { return query{r.shop} }
func (r *resolvers) Mutation() graph.MutationResolver         { return mutation{r.shop} }
func (r *resolvers) Subscription() graph.SubscriptionResolver { return subscription{r.shop} }

type query struct{ shop *shop.Shop }

func (q query) Me(ctx context.Context) (*shop.User, error)            { return q.shop.User(caller(ctx)), nil }
func (q query) User(_ context.Context, id string) (*shop.User, error) { return q.shop.User(id), nil }

func (q query) Users(_ context.Context, first *int, after *string) (*shop.UserConnection, error) {
	return q.shop.Users(first, after), nil
}

func (q query) Node(_ context.Context, id string) (shop.Node, error) { return q.shop.Node(id), nil }

func (q query) Nodes(_ context.Context, ids []string) ([]shop.Node, error) {
	nodes := make([]shop.Node, len(ids))
	for i, id := range ids {
		nodes[i] = q.shop.Node(id)
	}
	return nodes, nil
}

func (q query) Product(_ context.Context, id string) (*shop.Product, error) {
	return q.shop.Product(id), nil
}

func (q query) Products(
	_ context.Context, first *int, after *string, unpublished *bool, filter *shop.ProductFilter, order *shop.ProductOrder,
) (*shop.ProductConnection, error) {
	by := shop.ProductOrderName
	if order != nil {
		by = *order
	}
	return q.shop.Products(unpublished != nil && *unpublished, filter, by, first, after), nil
}

func (q query) Categories(context.Context) ([]*shop.Category, error) { return q.shop.Categories(), nil }

func (q query) Post(_ context.Context, id string) (*shop.Post, error) { return q.shop.Post(id), nil }

func (q query) Posts(_ context.Context, first *int, after *string) (*shop.PostConnection, error) {
	return q.shop.Posts("", first, after), nil
}

func (q query) Order(_ context.Context, id string) (*shop.Order, error) { return q.shop.Order(id), nil }

func (q query) Search(_ context.Context, text string, first *int) ([]shop.SearchResult, error) {
	return q.shop.Search(text, first), nil
}

func (q query) InternalNotes(context.Context) ([]*shop.InternalNote, error) {
	return q.shop.InternalNotes(), nil
}

func (q query) Diagnostics(context.Context) (*string, error) { return q.shop.Diagnostics() }

type mutation struct{ shop *shop.Shop }

func (m mutation) Login(_ context.Context, email, password string) (*shop.Session, error) {
	return m.shop.Login(email, password)
}

func (m mutation) UpdateProfile(ctx context.Context, input shop.ProfileInput) (*shop.User, error) {
	return m.shop.UpdateProfile(caller(ctx), input)
}

func (m mutation) CreatePost(ctx context.Context, input shop.PostInput) (*shop.Post, error) {
	return m.shop.CreatePost(caller(ctx), input)
}

func (m mutation) AddComment(ctx context.Context, post, text string) (*shop.Comment, error) {
	return m.shop.AddComment(caller(ctx), post, text)
}

func (m mutation) ReviewProduct(ctx context.Context, product string, stars int, text *string) (*shop.Review, error) {
	return m.shop.ReviewProduct(caller(ctx), product, stars, text)
}

func (m mutation) PlaceOrder(ctx context.Context, input shop.OrderInput) (*shop.Order, error) {
	return m.shop.PlaceOrder(caller(ctx), input)
}

func (m mutation) CancelOrder(_ context.Context, id string) (*shop.Order, error) {
	return m.shop.CancelOrder(id)
}

func (m mutation) PublishProduct(_ context.Context, id string, published bool) (*shop.Product, error) {
	return m.shop.PublishProduct(id, published)
}

func (m mutation) DeleteUser(_ context.Context, id string) (string, error) {
	return m.shop.DeleteUser(id)
}

type subscription struct{ shop *shop.Shop }

// OrderChanged sends the order as it is, and again each time that it is another within the looks of one a second.
func (s subscription) OrderChanged(ctx context.Context, id string) (<-chan *shop.Order, error) {
	last := s.shop.Order(id)
	if last == nil {
		return nil, &shop.NotFoundError{ID: id}
	}
	changes := make(chan *shop.Order, 1)
	changes <- last
	go func() {
		defer close(changes)
		look := time.NewTicker(time.Second)
		defer look.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
			}
			now := s.shop.Order(id)
			if now == last {
				continue
			}
			last = now
			select {
			case <-ctx.Done():
				return
			case changes <- now:
			}
		}
	}()
	return changes, nil
}

func (s subscription) Countdown(ctx context.Context, to *int) (<-chan int, error) {
	counts := make(chan int)
	go func() {
		defer close(counts)
		for i := 1; to == nil || i <= *to; i++ {
			select {
			case <-ctx.Done():
				return
			case counts <- i:
			}
		}
	}()
	return counts, nil
}
