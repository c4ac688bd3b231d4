package gate_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/gate"
)

// A program mounts a gate in its own mux and handles the events in a function.
func Example() {
	dir, err := os.MkdirTemp("", "gate")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())

	g, err := gate.Open(ctx, gate.Options{DataDir: dir,
		Sources: gate.Sources{"github": gate.GitHub("It's a Secret to Everybody")}})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	g.Handle("review", gate.Filter{Types: []string{"pull_*"}},
		func(ctx context.Context, e *hookgate.Event) error {
			d, _ := gate.DeliveryOf(ctx)
			fmt.Printf("%s of %s, attempt %d: %s\n", e.EventType, e.OrderingKey, d.Attempt, e.Body)
			stop() // the example ends here
			return nil
		})
	mux := http.NewServeMux()
	mux.Handle("/webhooks/", g)

	// GitHub sends a webhook.
	r := httptest.NewRequest(http.MethodPost, "/webhooks/github",
		strings.NewReader(`{"repository":{"full_name":"octo/hello"}}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-GitHub-Event", "pull_request")
	r.Header.Set("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
	r.Header.Set("X-Hub-Signature-256",
		"sha256=38d6792ae2d96ff6143d36f5b4ef7b81af584dd20aa2e80cac675bb78b04ee4e")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println(w.Code)

	if err := g.Run(ctx); err != nil { // works in the background until ctx ends
		log.Fatal(err)
	}
	// Output:
	// 202
	// pull_request of octo/hello, attempt 1: {"repository":{"full_name":"octo/hello"}}
}
