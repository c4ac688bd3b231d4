// Command consumer reads the stored events of a gate and calls handle for each: in the order in
// which they were stored, at least once. docs/quickstart.md shows how to run it.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"os"
	"time"
)

// handle is your code. After a crash it can get an event again: source, type and message id
// identify the event.
func handle(e event, body []byte) error {
	fmt.Printf("%s %s %s: %s\n", e.Source, e.EventType, e.MessageID, body)
	return nil
}

type event struct {
	ID          string `json:"id"`
	Source      string `json:"source"`
	EventType   string `json:"eventType"`
	MessageID   string `json:"messageId"`
	OrderingKey string `json:"orderingKey"`
}

var (
	gate   = os.Getenv("GATE_URL")       // such as http://127.0.0.1:8080
	token  = os.Getenv("HOOKGATE_TOKEN") // any token that may read
	client = &http.Client{Timeout: time.Minute}
)

func main() {
	for {
		if err := readOn(); err != nil {
			log.Print(err) // the next round tries the same event again
		}
		time.Sleep(time.Second)
	}
}

// readOn handles the events stored after the one in the file "cursor", up to the newest.
func readOn() error {
	last, err := os.ReadFile("cursor")
	if errors.Is(err, fs.ErrNotExist) {
		last = []byte("0") // from the first event on
	} else if err != nil {
		return err
	}
	list, err := get("/api/events?after=" + string(last))
	if err != nil {
		return err
	}
	defer list.Close()
	lines := bufio.NewReader(list)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		body, err := get("/api/events/" + e.ID + "/body")
		if err != nil {
			return err
		}
		text, err := io.ReadAll(body)
		body.Close()
		if err != nil {
			return err
		}
		if err := handle(e, text); err != nil {
			return fmt.Errorf("event %s: %w", e.ID, err)
		}
		// Only now: a crash before this line repeats the event, a crash after it does not.
		if err := os.WriteFile("cursor.new", []byte(e.ID), 0o600); err != nil {
			return err
		}
		if err := os.Rename("cursor.new", "cursor"); err != nil {
			return err
		}
	}
}

func get(path string) (io.ReadCloser, error) {
	request, err := http.NewRequest("GET", gate+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Accept", "application/x-ndjson")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("GET %s: %s", path, response.Status)
	}
	return response.Body, nil
}
