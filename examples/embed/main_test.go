package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/gate"
)

// TestEmbed runs the program and sends it a webhook with a signature of GitHub. The handler gets
// the event, and the program's own route lists it. A webhook with a wrong signature gets 401 and is
// not stored.
func TestEmbed(t *testing.T) {
	const secret = "It's a Secret to Everybody"
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	options := gate.Options{DataDir: t.TempDir(), Sources: gate.Sources{"github": gate.GitHub(secret)}}
	handled := make(chan string, 10)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, listener, options, func(_ context.Context, e *hookgate.Event) error {
			handled <- e.EventType + " " + e.OrderingKey
			return nil
		})
	}()

	url := "http://" + listener.Addr().String()
	const body = `{"action":"opened","repository":{"full_name":"octo/hello"}}`
	for _, webhook := range []struct {
		id, secret string
		status     int
	}{
		{"72d3162e-cc78-11e3-81ab-4c9367dc0958", secret, http.StatusAccepted},
		{"72d3162e-cc78-11e3-81ab-4c9367dc0959", "another secret", http.StatusUnauthorized},
	} {
		mac := hmac.New(sha256.New, []byte(webhook.secret))
		mac.Write([]byte(body))
		req, err := http.NewRequest(http.MethodPost, url+"/webhooks/github", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-GitHub-Event", "issues")
		req.Header.Set("X-GitHub-Delivery", webhook.id)
		req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != webhook.status {
			t.Errorf("webhook %s is answered %s, want %d", webhook.id, resp.Status, webhook.status)
		}
	}
	if got := <-handled; got != "issues octo/hello" {
		t.Errorf("the handler got %q", got)
	}
	resp, err := http.Get(url + "/events")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if want := "issues 72d3162e-cc78-11e3-81ab-4c9367dc0958 " + body + "\n"; err != nil ||
		string(got) != want {
		t.Errorf("the program lists %q, %v; want %q", got, err, want)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the program ended with %v", err)
	}
	if n := len(handled); n > 0 {
		t.Errorf("the handler got %d more events", n)
	}
}
