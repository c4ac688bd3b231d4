package storetest

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/refused"
)

// longAgo is a time before everything that the recorders keep, by the real clock of the store.
var longAgo = time.Now().UTC().Truncate(time.Minute).Add(123_456*time.Microsecond -
	2*refused.MaxAge)

// refusedOf returns refused request n of a source. A higher n is newer.
func refusedOf(source string, n int) refused.Request {
	at := longAgo.Add(time.Duration(n) * time.Millisecond)
	return refused.Request{ID: hookgate.NewRequestID(at), At: at, Source: source, Status: 401,
		Reason: "no signature", Address: "192.0.2.1", Method: "POST", Path: "/webhooks/" + source,
		Size: int64(n), Headers: []hookgate.Header{{Name: "X-A", Value: "ü\"<"}}}
}

func listRefused(t *testing.T, s refused.Store, q refused.Query) []refused.Request {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 10_000
	}
	all, err := s.Refused(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// testRefused: requests come back newest first and as they were, filters and pages select, and the
// store keeps the newest of each source and none that is too old.
func testRefused(t *testing.T, s Instance) {
	save := func(oldest time.Time, all ...refused.Request) {
		t.Helper()
		for range 2 { // a call with an unknown outcome is repeated
			if err := s.SaveRefused(context.Background(), all, oldest); err != nil {
				t.Fatal(err)
			}
		}
	}
	first, second, stray := refusedOf("shop", 1), refusedOf("bank", 2), refusedOf("", 3)
	second.Status, second.Reason, second.Body, second.Skipped = 400, "no JSON", []byte("{\x00\xff"), 7
	stray.Status, stray.Size, stray.Headers = 404, -1, nil
	save(longAgo, second, first, stray)
	for name, test := range map[string]struct {
		q    refused.Query
		want []refused.Request
	}{
		"all":    {refused.Query{}, []refused.Request{stray, second, first}},
		"page":   {refused.Query{Before: stray.ID, Limit: 1}, []refused.Request{second}},
		"source": {refused.Query{Source: "shop"}, []refused.Request{first}},
		"status": {refused.Query{Status: 404}, []refused.Request{stray}},
		"reason": {refused.Query{Reason: "no JSON", Status: 400}, []refused.Request{second}},
		"none":   {refused.Query{Source: "bank", Reason: "no signature"}, nil},
	} {
		if got := listRefused(t, s, test.q); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
	var many []refused.Request
	for n := range refused.PerSource + 20 {
		many = append(many, refusedOf("shop", 100+n))
	}
	save(longAgo, many[:500]...)
	save(longAgo, many[500:]...)
	got := listRefused(t, s, refused.Query{Source: "shop"})
	if len(got) != refused.PerSource || got[0].ID != many[len(many)-1].ID ||
		got[999].ID != many[20].ID {
		t.Errorf("%d requests of a source are kept, the newest %s", len(got), fmt.Sprint(got[0].At))
	}
	if n := len(listRefused(t, s, refused.Query{Source: "bank"})); n != 1 {
		t.Errorf("%d requests of another source are kept, want 1", n)
	}
	save(longAgo.Add(time.Hour), refusedOf("bank", 3_600_001))
	if got := listRefused(t, s, refused.Query{}); len(got) != 1 {
		t.Errorf("%d requests are kept after an hour, want 1", len(got))
	}
	if save(longAgo.Add(2 * time.Hour)); len(listRefused(t, s, refused.Query{})) > 0 {
		t.Error("a call without requests does not remove the old ones")
	}
	// The clock of the store keeps what a process whose clock is ahead takes for old.
	recent := refusedOf("bank", int(2*refused.MaxAge.Milliseconds()))
	save(recent.At.Add(2*refused.MaxAge), recent)
	if n := len(listRefused(t, s, refused.Query{})); n != 1 {
		t.Errorf("a clock that is ahead keeps %d requests, want 1", n)
	}
}

// testRefusedFails: a save that fails stores all of its requests or none.
func testRefusedFails(t *testing.T, b Backend, done bool) {
	s := open(t, b)
	all := []refused.Request{refusedOf("shop", 1), refusedOf("shop", 2)}
	s.FailWrites(&done)
	err := s.SaveRefused(context.Background(), all, longAgo)
	s.FailWrites(nil)
	if got := listRefused(t, s, refused.Query{}); err == nil || len(got) > 0 != done {
		t.Errorf("error %v, and %d requests are stored", err, len(got))
	}
}
