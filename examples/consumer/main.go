// Command consumer receives the events of a gate. docs/quickstart.md shows how to run it.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
)

func main() {
	log.Fatal(http.ListenAndServe("127.0.0.1:3000", http.HandlerFunc(handle)))
}

// handle is your code. The gate calls it for each event and again until it answers 2xx.
func handle(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	source, eventType := r.Header.Get("hookgate-source"), r.Header.Get("hookgate-type")
	fmt.Printf("%s %s %s: %s\n", source, eventType, r.Header.Get("hookgate-message-id"), body)
	w.WriteHeader(http.StatusNoContent) // done
}
