package firewall

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// readiness is the body of /readyz; without the token Ready alone.
type readiness struct {
	Ready      bool   `json:"ready"`
	Generation uint64 `json:"generation,omitzero"`
	// Loading: the manifests are being read for the first time.
	Loading bool   `json:"loading,omitzero"`
	Schema  string `json:"schema,omitzero"`
	Policy  string `json:"policy,omitzero"`
	// Reload tells of the last reload when it failed: the generation above
	// still serves.
	Reload *reloadState `json:"reload,omitzero"`
	// Upstreams are the addresses of upstream.urls.
	Upstreams []backendState `json:"upstreams,omitzero"`
	// Budgets is the state of the budget store.
	Budgets budgetState `json:"budgets,omitzero"`
}

type reloadState struct {
	FailedAt time.Time `json:"failed_at"`
	Error    string    `json:"error"`
}

// AdminHandler serves /healthz (the process lives), /readyz (a generation
// serves and the firewall is not draining), /metrics (Prometheus) and /budgets.
// With a token, /metrics and the details of /readyz need it as a bearer token;
// /budgets always does, and is refused where none is configured. It must
// never be mounted on the data listener.
func (f *Firewall) AdminHandler() (http.Handler, error) {
	token := ""
	if file := f.current.Load().config.Admin.TokenFile; file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, &ConfigError{[]Problem{{"admin.token_file", err.Error()}}}
		}
		if token = strings.TrimSpace(string(b)); len(token) < 16 {
			return nil, &ConfigError{[]Problem{{"admin.token_file", file + " must hold a token of at least 16 characters"}}}
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		state, ready := f.readiness()
		if !bearer(r, token) {
			state = readiness{Ready: ready}
		}
		w.Header().Set("Content-Type", "application/json")
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.MarshalWrite(w, state)
	})
	mux.HandleFunc("GET /operations", func(w http.ResponseWriter, r *http.Request) {
		if !bearer(r, token) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the token of admin.token_file is needed", http.StatusUnauthorized)
			return
		}
		f.operations(w, r)
	})
	metrics := f.metrics.handler()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if !bearer(r, token) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the token of admin.token_file is needed", http.StatusUnauthorized)
			return
		}
		metrics.ServeHTTP(w, r)
	})
	operator := func(w http.ResponseWriter, r *http.Request) {
		if token == "" || !bearer(r, token) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the token of admin.token_file is needed", http.StatusUnauthorized)
			return
		}
		f.budgets(w, r)
	}
	mux.HandleFunc("GET /budgets", operator)
	mux.HandleFunc("DELETE /budgets", operator)
	return mux, nil
}

// bearer compares in constant time; digests hide the token's length too.
func bearer(r *http.Request, token string) bool {
	if token == "" {
		return true
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(token))
	return ok && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func (f *Firewall) readiness() (readiness, bool) {
	g := f.current.Load()
	out := readiness{Ready: !f.draining.Load() && !g.pending, Loading: g.pending, Generation: g.number, Schema: g.schemaID, Policy: g.policyRevision(), Budgets: f.budgetState(), Upstreams: g.route.group.states()}
	if fail := f.lastFail.Load(); fail != nil {
		out.Reload = &reloadState{fail.at, fail.err.Error()}
	}
	return out, out.Ready
}
