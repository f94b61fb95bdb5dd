package firewall

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// maxUsageAnswer bounds what an admin listener may answer.
const maxUsageAnswer = 256 << 20

// UnusedOperations asks the admin listeners of every firewall that serves the
// same manifests which registered operations were not asked for since a time,
// and returns those that none of them has seen; their calls are summed. Since is
// when the youngest of them began to count: what it says of the time before is
// not known. Token is the bearer token of admin.token_file; empty for none.
func UnusedOperations(ctx context.Context, admins []string, token string, since time.Time) (*OperationUsage, error) {
	out := &OperationUsage{Operations: []UsedOperation{}}
	for n, admin := range admins {
		u, err := askUsage(ctx, admin, token, since)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", admin, err)
		}
		if u.Since.After(out.Since) {
			out.Since = u.Since
		}
		out.Registered = max(out.Registered, u.Registered)
		out.Truncated = out.Truncated || u.Truncated
		if n == 0 {
			out.Operations = u.Operations
			continue
		}
		type key struct{ client, version, id string }
		also := map[key]UsedOperation{}
		for _, o := range u.Operations {
			also[key{o.Client, o.Version, o.ID}] = o
		}
		both := out.Operations[:0]
		for _, o := range out.Operations {
			if other, ok := also[key{o.Client, o.Version, o.ID}]; ok {
				o.Calls += other.Calls
				if other.LastSeen.After(o.LastSeen) {
					o.LastSeen = other.LastSeen
				}
				both = append(both, o)
			}
		}
		out.Operations = both
	}
	return out, nil
}

func askUsage(ctx context.Context, admin, token string, since time.Time) (*OperationUsage, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	query := url.Values{"unused_since": {since.UTC().Format(time.RFC3339)}, "limit": {strconv.Itoa(maxUsageRows)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(admin, "/")+"/operations?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		return nil, fmt.Errorf("it answered %s: %s", res.Status, strings.TrimSpace(string(text)))
	}
	u := &OperationUsage{}
	return u, json.UnmarshalRead(io.LimitReader(res.Body, maxUsageAnswer), u)
}
