package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/hookgate/hookgate/api"
)

// List the events of one ordering key.
func ExampleClient_AllEvents() {
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"id":"1","eventType":"order.created","orderingKey":"customer-1"}`)
		fmt.Fprintln(w, `{"id":"2","eventType":"order.paid","orderingKey":"customer-1"}`)
	}))
	defer gate.Close()

	client := &api.Client{URL: gate.URL, Token: "hgt_…"}
	query := api.EventQuery{OrderingKey: "customer-1"}
	for event, err := range client.AllEvents(context.Background(), query) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(event.ID, event.EventType)
	}
	// Output:
	// 1 order.created
	// 2 order.paid
}
