package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	delivery "github.com/hookgate/hookgate/deliver/memory"
	"github.com/hookgate/hookgate/deliver/pull"
)

// fakePuller notes its calls and answers what the test says.
type fakePuller struct {
	calls []string
	err   error
	batch *pull.Batch
	wait  bool // Pull waits for the end of its context
	began chan struct{}
}

func (p *fakePuller) note(format string, args ...any) error {
	p.calls = append(p.calls, fmt.Sprintf(format, args...))
	return p.err
}

func (p *fakePuller) Pull(ctx context.Context, name string, r pull.Request) (*pull.Batch, error) {
	if p.wait {
		close(p.began)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return p.batch, p.note("pull %s %+v", name, r)
}

func (p *fakePuller) Ack(_ context.Context, name, lease string, ids []int64, upTo int64) error {
	return p.note("ack %s %s %v %d", name, lease, ids, upTo)
}

func (p *fakePuller) Nack(_ context.Context, name, lease string, ids []int64, n pull.Nack) error {
	delay := time.Duration(-1)
	if n.Delay != nil {
		delay = *n.Delay
	}
	return p.note("nack %s %s %v %v %q %t", name, lease, ids, delay, n.Reason, n.Dead)
}

func (p *fakePuller) Extend(_ context.Context, name, lease string, d time.Duration) (time.Time,
	error) {
	return time.UnixMicro(1).UTC(), p.note("extend %s %s %v", name, lease, d)
}

func (p *fakePuller) Revoke(_ context.Context, name string) error { return p.note("revoke %s", name) }

// pulling is a gate with a puller, and with subscriptions in memory.
func pulling(t *testing.T, p Puller, change func(*setup)) (*gate, *delivery.Store) {
	store := delivery.New()
	g := newGate(t, func(s *setup) {
		s.queue, s.subscriptions, s.puller = &fakeQueue{}, store, p
		if change != nil {
			change(s)
		}
	})
	_, err := store.Define(t.Context(), []hookgate.SubscriptionDefinition{{Name: "billing",
		Order: hookgate.OrderKey, Filter: hookgate.Filter{Types: []string{"paid*"}},
		Start: hookgate.Start{At: hookgate.StartBeginning}, Definition: `{"pull":{}}`}}, true)
	must(t, err)
	return g, store
}

// TestPullCalls: bodies reach the puller as they are meant, and malformed ones do not.
func TestPullCalls(t *testing.T) {
	p := &fakePuller{batch: &pull.Batch{}}
	g, _ := pulling(t, p, nil)
	long := strings.Repeat("1,", pull.MaxEvents)
	for _, c := range []struct{ call, body, reaches string }{
		{"pull", ``, "{Max:0 MaxBytes:0 Wait:0s Lease:0s}"},
		{"pull", `{"max":1000,"maxBytes":33554432,"wait":"1m","lease":"12h"}`,
			"{Max:1000 MaxBytes:33554432 Wait:1m0s Lease:12h0m0s}"},
		{"pull", `{"max":0}`, ""}, {"pull", `{"max":1001}`, ""}, {"pull", `{"max":"1"}`, ""},
		{"pull", `{"max":null}`, ""}, {"pull", `{"maxBytes":33554433}`, ""},
		{"pull", `{"wait":"61s"}`, ""}, {"pull", `{"wait":30}`, ""}, {"pull", `{"wait":"-1s"}`, ""},
		{"pull", `{"lease":"0s"}`, ""}, {"pull", `{"lease":"13h"}`, ""}, {"pull", `{"Max":1}`, ""},
		{"pull", `[]`, ""}, {"pull", `{`, ""}, {"pull", `{} {}`, ""},
		{"ack", `{"lease":"l","ids":["7",5,"7"]}`, "l [5 7] 0"},
		{"ack", `{"lease":"l","upTo":"9"}`, "l [] 9"}, {"ack", `{"lease":"l","upTo":9}`, "l [] 9"},
		{"ack", ``, ""}, {"ack", `{"lease":"l"}`, ""}, {"ack", `{"ids":["1"]}`, ""},
		{"ack", `{"lease":"","ids":["1"]}`, ""}, {"ack", `{"lease":"l","ids":[]}`, ""},
		{"ack", `{"lease":"l","ids":["1"],"upTo":"2"}`, ""}, {"ack", `{"lease":"l","ids":["-1"]}`, ""},
		{"ack", `{"lease":"l","ids":[1.5]}`, ""}, {"ack", `{"lease":"l","ids":[null]}`, ""},
		{"ack", `{"lease":"l","ids":["9223372036854775808"]}`, ""},
		{"ack", `{"lease":"l","ids":[` + long + `1]}`, ""}, {"ack", `{"lease":"l","upTo":"x"}`, ""},
		{"nack", `{"lease":"l","ids":["7"],"delay":"0s","reason":"r"}`, `l [7] 0s "r" false`},
		{"nack", `{"lease":"l","ids":[7],"dead":true}`, `l [7] -1ns "" true`},
		{"nack", `{"lease":"l"}`, ""}, {"nack", `{"lease":"l","ids":["7"],"delay":"25h"}`, ""},
		{"nack", `{"lease":"l","ids":["7"],"delay":"1s","dead":true}`, ""},
		{"nack", `{"lease":"l","ids":["7"],"reason":"` + strings.Repeat("r", maxNackReason+1) + `"}`, ""},
		{"extend", `{"lease":"l","for":"90s"}`, "l 1m30s"},
		{"extend", `{"lease":"l"}`, ""}, {"extend", `{"lease":"l","for":"0s"}`, ""},
		{"extend", `{"lease":"l","for":"13h"}`, ""}, {"extend", `{"lease":"l","for":"1s","ids":[]}`, ""},
		{"ack", `{"lease":"` + strings.Repeat("l", maxPullBody) + `"}`, ""},
	} {
		p.calls = nil
		a := g.admin(t, "POST", "/api/subscriptions/billing/"+c.call, c.body)
		switch {
		case c.reaches == "":
			checkRefusal(t, a.want(t, 400))
		case c.call == "pull":
			if a.want(t, 200); string(a.body) != "{\"events\":[]}\n" {
				t.Errorf("an empty pull is %s", a.body)
			}
		case c.call == "extend":
			if a.want(t, 200); string(a.body) != `{"until":"1970-01-01T00:00:00.000001Z"}`+"\n" {
				t.Errorf("the extension is %s", a.body)
			}
		default:
			a.want(t, 204)
		}
		want := []string{c.call + " billing " + c.reaches}
		if c.reaches == "" {
			want = nil
		}
		if !slices.Equal(p.calls, want) {
			t.Errorf("%s %.80s: calls %q, want %q", c.call, c.body, p.calls, want)
		}
	}
}

// TestPullErrors: each error of the puller has its status and says what it is.
func TestPullErrors(t *testing.T) {
	p := &fakePuller{}
	g, _ := pulling(t, p, nil)
	for _, c := range []struct {
		err    error
		status int
		says   string
	}{
		{hookgate.ErrNotFound, 404, "no subscription billing"},
		{pull.ErrNotPull, 409, "only a subscription with pull"},
		{fmt.Errorf("state: %w", hookgate.ErrLeased), 409, "only a subscription with pull"},
		{pull.ErrEnded, 409, "comes again"},
		{&pull.AckError{Event: 7, Before: 5}, 400, "event 7 comes after event 5"},
		{errInjected, 503, "see the log"},
	} {
		p.err = c.err
		for call, body := range map[string]string{"pull": `{}`, "ack": `{"lease":"l","ids":["7"]}`,
			"nack": `{"lease":"l","ids":["7"]}`, "extend": `{"lease":"l","for":"1s"}`} {
			a := g.admin(t, "POST", "/api/subscriptions/billing/"+call, body).want(t, c.status)
			if checkRefusal(t, a); !strings.Contains(a.errorText(t), c.says) {
				t.Errorf("%s: %v is answered %s", call, c.err, a.body)
			}
			if a.header.Get("Retry-After") == "" != (c.status != 503) {
				t.Errorf("%s: %v has the headers %v", call, c.err, a.header)
			}
		}
	}
}

// TestPullAnswer: an answer has the lease and all events, also if it is larger than the buffer.
func TestPullAnswer(t *testing.T) {
	p := &fakePuller{batch: &pull.Batch{Lease: "l-1", Until: time.UnixMicro(5)}}
	for i := range 5 {
		p.batch.Events = append(p.batch.Events, pull.Event{Attempt: i + 1, Redelivery: 2,
			Event: &hookgate.Event{ID: int64(i + 10), Body: bytes.Repeat([]byte{byte(i)}, 50_000)}})
	}
	g, _ := pulling(t, p, nil)
	var got api.Pulled
	must(t, json.Unmarshal(g.admin(t, "POST", "/api/subscriptions/billing/pull", "").want(t,
		200).body, &got))
	if got.Lease != "l-1" || got.Until.UnixMicro() != 5 || len(got.Events) != 5 {
		t.Fatalf("pulled %s until %v, %d events", got.Lease, got.Until, len(got.Events))
	}
	for i, e := range got.Events {
		if e.ID != fmt.Sprint(i+10) || e.Attempt != i+1 || e.Redelivery != 2 ||
			!bytes.Equal(e.Body, p.batch.Events[i].Body) {
			t.Errorf("event %d is %+v", i, e.LogEvent.ID)
		}
	}
}

// TestPullEnds: a pull that waits ends when its client leaves, and answers at once when the gate
// stops.
func TestPullEnds(t *testing.T) {
	p := &fakePuller{wait: true, began: make(chan struct{})}
	g, _ := pulling(t, p, nil)
	answered := make(chan result, 1)
	go func() {
		a, err := g.try("POST", "/api/subscriptions/billing/pull", strings.NewReader(`{"wait":"1m"}`),
			"Authorization", "Bearer "+adminToken)
		answered <- result{a, err}
	}()
	receive(t, p.began, "the pull")
	g.API.Stop()
	r := receive(t, answered, "the answer")
	must(t, r.err)
	if r.want(t, 200); string(r.body) != "{\"events\":[]}\n" {
		t.Errorf("the answer is %s", r.body)
	}

	p = &fakePuller{wait: true, began: make(chan struct{})}
	left := make(chan struct{})
	g, _ = pulling(t, leaving{p, left}, nil)
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, "POST",
		g.url+"/api/subscriptions/billing/pull", strings.NewReader(`{"wait":"1m"}`))
	must(t, err)
	request.Header.Set("Authorization", "Bearer "+adminToken)
	go func() {
		if response, err := g.client.Do(request); err == nil {
			response.Body.Close()
		}
	}()
	receive(t, p.began, "the pull")
	leave()
	receive(t, left, "the end of the pull of a client that has left")
}

// leaving is a puller that tells when Pull ends.
type leaving struct {
	*fakePuller
	left chan struct{}
}

func (l leaving) Pull(ctx context.Context, name string, r pull.Request) (*pull.Batch, error) {
	defer close(l.left)
	return l.fakePuller.Pull(ctx, name, r)
}

// TestConsumerPulls: a consumer may call for its own subscriptions and for no other.
func TestConsumerPulls(t *testing.T) {
	p := &fakePuller{batch: &pull.Batch{}}
	g, _ := pulling(t, p, nil)
	bearer := "Bearer " + g.create(t,
		`{"name":"app","role":"consumer","subscriptions":["billing"]}`).Text
	as := func(path, body string) *answer {
		return g.do(t, "POST", path, strings.NewReader(body), "Authorization", bearer)
	}
	as("/api/subscriptions/billing/pull", "").want(t, 200)
	for call, body := range map[string]string{"pull": ``, "ack": `{"lease":"l","ids":["7"]}`,
		"nack": `{"lease":"l","ids":["7"]}`, "extend": `{"lease":"l","for":"1s"}`} {
		a := as("/api/subscriptions/other/"+call, body).want(t, 403)
		if checkRefusal(t, a); !strings.Contains(a.errorText(t), "billing") {
			t.Errorf("the answer is %s", a.body)
		}
	}
	as("/api/subscriptions", `{}`).want(t, 403)
	g.do(t, "DELETE", "/api/subscriptions/billing", nil, "Authorization", bearer).want(t, 403)
	if len(p.calls) != 1 {
		t.Errorf("calls %q", p.calls)
	}
}

// TestTemporarySubscriptions: an operator creates one and forgets it, and cannot forget others.
func TestTemporarySubscriptions(t *testing.T) {
	g, store := pulling(t, &fakePuller{}, nil)
	bearer := "Bearer " + g.create(t, `{"name":"olga","role":"operator"}`).Text
	as := func(method, path, body string) *answer {
		return g.do(t, method, path, strings.NewReader(body), "Authorization", bearer)
	}
	for _, body := range []string{`{"name":""}`, `{"name":"A"}`, `{"idle":"1s"}`, `{"idle":"25h"}`,
		`{"since":"-1s"}`, `{"sources":"a"}`, `{"sources":["unknown"]}`, `{"pull":{}}`, `{"idle":null}`,
		`{"after":"now"}`, `{"after":"5","since":"1m"}`, `{"after":5}`} {
		checkRefusal(t, as("POST", "/api/subscriptions", body).want(t, 400))
	}
	as("POST", "/api/subscriptions", `{"name":"billing"}`).want(t, 409)
	var made api.TemporarySubscription
	must(t, json.Unmarshal(as("POST", "/api/subscriptions",
		`{"types":["paid"],"since":"10m","idle":"2m"}`).want(t, 201).body, &made))
	all, err := store.Subscriptions(t.Context())
	must(t, err)
	i := slices.IndexFunc(all, func(s hookgate.SubscriptionInfo) bool { return s.Name == made.Name })
	if i < 0 || all[i].Idle != 2*time.Minute || !slices.Equal(all[i].Filter.Types, []string{"paid"}) {
		t.Fatalf("made %+v: %+v", made, all)
	}
	as("POST", "/api/subscriptions", `{"name":"later","after":"0"}`).want(t, 201)
	as("DELETE", "/api/subscriptions/billing", "").want(t, 403)
	as("DELETE", "/api/subscriptions/"+made.Name, "").want(t, 200)
	as("DELETE", "/api/subscriptions/"+made.Name, "").want(t, 404)
	last := g.trail(t)
	if row := last[len(last)-1]; row.Action != "subscription_forget" || row.By != "olga" {
		t.Errorf("the trail ends with %+v", row)
	}
}

// revoking counts the seeks that fail because clients have leases.
type revoking struct {
	hookgate.SubscriptionControl
	fails int
}

func (r *revoking) Seek(context.Context, string, hookgate.Start, bool, hookgate.Person) (
	hookgate.SeekResult, error) {
	if r.fails--; r.fails >= 0 {
		return hookgate.SeekResult{}, hookgate.ErrLeasesOut
	}
	return hookgate.SeekResult{From: 1, To: 2}, nil
}

// TestSeekRevokes: a seek ends the leases of clients, and gives up if they lease again each time.
func TestSeekRevokes(t *testing.T) {
	p := &fakePuller{}
	g, _ := pulling(t, p, nil)
	g.API.control = &revoking{fails: 2}
	g.admin(t, "POST", "/api/subscriptions/billing/seek", `{"to":"now"}`).want(t, 200)
	if !slices.Equal(p.calls, []string{"revoke billing", "revoke billing"}) {
		t.Errorf("calls %q", p.calls)
	}
	g.API.control = &revoking{fails: 1000}
	a := g.admin(t, "POST", "/api/subscriptions/billing/seek", `{"to":"now"}`).want(t, 409)
	if !strings.Contains(a.errorText(t), "pause it first") {
		t.Errorf("the answer is %s", a.body)
	}
}

// FuzzPullBodies parses any body. Accepted values are within the limits; nothing panics.
func FuzzPullBodies(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"max":5,"wait":"1s"}`, `{"lease":"l","ids":["1",2]}`,
		`{"lease":"l","upTo":"3"}`, `{"lease":"l","ids":[1],"delay":"1s","reason":"\u0000"}`,
		`{"lease":"l","for":"1h"}`, `{"lease":"l","ids":["`, `{"lease":"l","ids":["\"1"]}`,
		`{"maxBytes":1e3}`, `{"lease":"l","ids":[1],"delay":""}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if r, err := parsePull(body); err == nil && (r.Max < 0 || r.Max > pull.MaxEvents ||
			r.MaxBytes < 0 || r.MaxBytes > pull.MaxBytes || r.Wait < 0 || r.Wait > pull.MaxWait ||
			r.Lease != 0 && r.Lease < leastLease || r.Lease > pull.MaxLease) {
			t.Errorf("pull %q is %+v", body, r)
		}
		ordered := func(a leaseCall) bool {
			return a.lease != "" && len(a.ids) <= pull.MaxEvents && slices.IsSorted(a.ids) &&
				(len(a.ids) == 0 || a.ids[0] >= 0)
		}
		if a, err := parseAck(body); err == nil && (!ordered(a) || a.upTo < 0 ||
			len(a.ids) > 0 && a.upTo > 0) {
			t.Errorf("ack %q is %+v", body, a)
		}
		if a, err := parseNack(body); err == nil && (!ordered(a) || len(a.ids) == 0 ||
			a.nack.Delay != nil && (*a.nack.Delay < 0 || *a.nack.Delay > pull.MaxDelay)) {
			t.Errorf("nack %q is %+v", body, a)
		}
		if e, err := parseExtend(body); err == nil && (e.lease == "" || e.length < leastLease ||
			e.length > pull.MaxLease) {
			t.Errorf("extend %q is %q for %v", body, e.lease, e.length)
		}
	})
}
