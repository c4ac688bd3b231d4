// Command embed receives GitHub webhooks in a program of its own: it mounts a gate in its
// http.ServeMux, handles the events in a function, and reads the stored events back.
//
//	GITHUB_WEBHOOK_SECRET=… go run ./examples/embed
//
//	POST /webhooks/github   the gate authenticates the webhook, stores it and answers 202
//	                        soon after that it calls handle
//	GET  /events            this program lists what is stored
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/gate"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	listener, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		log.Fatal(err)
	}
	options := gate.Options{
		DataDir: "data",
		Logger:  slog.Default(),
		Sources: gate.Sources{"github": gate.GitHub(os.Getenv("GITHUB_WEBHOOK_SECRET"))},
	}
	if err := run(ctx, listener, options, handle); err != nil {
		log.Fatal(err)
	}
}

// handle is called for each event, in order for each repository. After an error the gate calls it
// again.
func handle(_ context.Context, e *hookgate.Event) error {
	log.Printf("%s of %s", e.EventType, e.OrderingKey)
	return nil
}

// run serves until ctx ends.
func run(ctx context.Context, listener net.Listener, options gate.Options,
	handle gate.Handler) (err error) {
	g, err := gate.Open(ctx, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()

	if err := g.Handle("log", gate.Filter{}, handle); err != nil {
		return err
	}

	// The gate works in the background until the server has answered its last request.
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	worked := make(chan error, 1)
	go func() { worked <- g.Run(working) }()
	defer func() {
		stopWorking()
		err = errors.Join(err, <-worked)
	}()

	mux := http.NewServeMux()
	mux.Handle("/webhooks/", g)
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		listEvents(w, r, g.Events())
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		server.Shutdown(deadline)
	}()
	log.Printf("send webhooks to http://%s/webhooks/github", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listEvents writes a line for each of the first 100 stored events, the oldest first: its type,
// message id and body.
func listEvents(w http.ResponseWriter, r *http.Request, events hookgate.Events) {
	first := hookgate.EventFilter{Source: "github", Limit: 100}
	for e, err := range events.Events(r.Context(), first) {
		var body []byte
		if err == nil {
			body, err = events.Body(r.Context(), e.ID)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "%s %s %s\n", e.EventType, e.MessageID, body)
	}
}
