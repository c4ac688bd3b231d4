package api_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/hookgate/hookgate/api"
)

// TestPullCalls compares what the calls send with the contract.
func TestPullCalls(t *testing.T) {
	var sent []string
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent = append(sent, r.Method+" "+r.URL.EscapedPath()+" "+string(body))
		switch r.URL.Path {
		case "/api/subscriptions/a/ack", "/api/subscriptions/a/nack":
			w.WriteHeader(http.StatusNoContent)
		case "/api/subscriptions":
			w.WriteHeader(http.StatusCreated)
			io.WriteString(w, `{"name":"t-1"}`)
		default:
			io.WriteString(w, `{"lease":"l","until":"2026-11-29T12:00:00.000000Z","events":[{"id":"7",`+
				`"attempt":2,"redelivery":0,"headers":[],"body":"eyJhIjoxfQ=="}]}`)
		}
	})
	pulled, err := c.Pull(t.Context(), "a", api.PullRequest{Max: 5,
		Wait: api.Duration(30 * time.Second)})
	if err != nil || pulled.Lease != "l" || len(pulled.Events) != 1 || pulled.Events[0].ID != "7" ||
		pulled.Events[0].Attempt != 2 || string(pulled.Events[0].Body) != `{"a":1}` {
		t.Errorf("pulled %+v, error %v", pulled, err)
	}
	if err := c.Ack(t.Context(), "a", api.AckRequest{Lease: "l", UpTo: "7"}); err != nil {
		t.Error(err)
	}
	delay := api.Duration(0)
	if err := c.Nack(t.Context(), "a", api.NackRequest{Lease: "l", IDs: []string{"7"},
		Delay: &delay}); err != nil {
		t.Error(err)
	}
	extended, err := c.Extend(t.Context(), "a", "l", 90*time.Second)
	if err != nil || extended.Until.Hour() != 12 {
		t.Errorf("extended %+v, error %v", extended, err)
	}
	created, err := c.CreateSubscription(t.Context(), api.TemporaryRequest{
		Since: api.Duration(10 * time.Minute)})
	if err != nil || created.Name != "t-1" {
		t.Errorf("created %+v, error %v", created, err)
	}
	want := []string{
		`POST /api/subscriptions/a/pull {"max":5,"wait":"30s"}`,
		`POST /api/subscriptions/a/ack {"lease":"l","upTo":"7"}`,
		`POST /api/subscriptions/a/nack {"lease":"l","ids":["7"],"delay":"0s"}`,
		`POST /api/subscriptions/a/extend {"lease":"l","for":"1m30s"}`,
		`POST /api/subscriptions {"since":"10m0s"}`,
	}
	if !slices.Equal(sent, want) {
		t.Errorf("sent\n%q, want\n%q", sent, want)
	}
}

// TestLongPollOutlastsTimeout: the time that the caller asks the gate to wait is added to the
// time-out of its HTTP client. The server answers later than that time-out.
func TestLongPollOutlastsTimeout(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // else the server does not notice that the client is gone
		if r.URL.Path == "/api/subscriptions/a/ack" {
			<-r.Context().Done()
			return
		}
		time.Sleep(2 * time.Millisecond)
		io.WriteString(w, `{"events":[]}`)
	}))
	t.Cleanup(server.Close)
	c := &api.Client{URL: server.URL, HTTP: &http.Client{Timeout: time.Millisecond}}
	if _, err := c.Pull(t.Context(), "a", api.PullRequest{
		Wait: api.Duration(time.Minute)}); err != nil {
		t.Error(err)
	}
	if err := c.Ack(t.Context(), "a", api.AckRequest{Lease: "l"}); err == nil {
		t.Error("a call that does not wait had no time-out")
	}
}

// TestFollow: Follow goes on at the place that the last answer named, until a call fails.
func TestFollow(t *testing.T) {
	answers := []string{
		"{\"after\":\"5\"}\n{\"id\":\"6\",\"source\":\"s\",\"body\":\"\"}\n{\"after\":\"8\"}\n",
		"{\"after\":\"9\"}\n",
	}
	var asked []string
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		if len(asked) > len(answers) {
			w.WriteHeader(http.StatusConflict)
			return
		}
		io.WriteString(w, answers[len(asked)-1])
	})
	var got []string
	var last error
	for line, err := range c.Follow(t.Context(), api.StreamQuery{Types: []string{"a.*", "b"}}) {
		if last = err; err != nil {
			continue
		}
		text := line.After
		if line.Event != nil {
			text += " " + line.Event.Source
		}
		got = append(got, text)
	}
	if want := []string{"5", "6 s", "8", "9"}; !slices.Equal(got, want) || last == nil {
		t.Errorf("got %q, error %v", got, last)
	}
	if want := []string{"type=a.%2A&type=b&wait=30s", "after=8&type=a.%2A&type=b&wait=30s",
		"after=9&type=a.%2A&type=b&wait=30s"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q", asked)
	}
}
