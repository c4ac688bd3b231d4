package adminapi

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/deliver/pull"
)

// servedPuller is a pull server that says when a pull begins.
type servedPuller struct {
	*pull.Server
	began chan struct{}
}

func (p *servedPuller) Pull(ctx context.Context, name string, r pull.Request) (*pull.Batch, error) {
	p.began <- struct{}{}
	return p.Server.Pull(ctx, name, r)
}

// TestRevokedWhileWaiting: a token is revoked while a pull and a stream wait. Neither hands out the
// event that comes then, and the event is free for the next client at once.
func TestRevokedWhileWaiting(t *testing.T) {
	p := &servedPuller{began: make(chan struct{}, 9)}
	g, store := pulling(t, p, nil)
	p.Server = pull.New(pull.Config{Policy: func(string) (pull.Policy, error) {
		return pull.Policy{}, nil
	}}, store, store)
	text := g.create(t, `{"name":"app","role":"consumer","subscriptions":["billing"]}`).Text
	const path = "/api/subscriptions/billing/pull"
	answers := make(chan *answer)
	go func() {
		a, err := g.try("POST", path, strings.NewReader(`{"wait":"1m","lease":"12h"}`),
			"Authorization", "Bearer "+text)
		if err != nil {
			t.Error(err)
		}
		answers <- a
	}()
	<-p.began
	request, err := http.NewRequestWithContext(t.Context(), "GET",
		g.url+"/api/events/stream?wait=1m", nil)
	must(t, err)
	request.Header.Set("Authorization", "Bearer "+text)
	response, err := g.client.Do(request)
	must(t, err)
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Scan() // the stream waits

	g.admin(t, "DELETE", "/admin/tokens/app", "").want(t, 200)
	store.Append(streamedEvent("shop", "paid", 10))
	checkRefusal(t, (<-answers).want(t, 401))
	for lines.Scan() {
		if strings.Contains(lines.Text(), "paid") {
			t.Errorf("the stream hands out %s", lines.Text())
		}
	}
	var pulled api.Pulled
	must(t, json.Unmarshal(g.admin(t, "POST", path, `{"wait":"1m"}`).want(t, 200).body, &pulled))
	if len(pulled.Events) != 1 || pulled.Events[0].Attempt != 1 {
		t.Errorf("the next client pulls %+v", pulled)
	}
}
