package httpd

import (
	"errors"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// FuzzParseFilter reads any query. A refusal must be a badParameter; what is accepted must be made of known parameters,
// each once and not empty, with a positive limit and times, and the filter must hold exactly what they say.
func FuzzParseFilter(f *testing.F) {
	for _, seed := range []string{
		"", "limit=10&after=5", "source=a&type=b&key=c&messageId=d&prefix=e", "from=2026-11-23T12:00:00Z&to=2026-11-23T12:00:00.5%2B01:00",
		"limit=0", "limit=+1", "limit=1&limit=2", "x=1", "source=", "a;b", "%zz", "&&&", "limit=9223372036854775808", "source=%ff%00",
	} {
		f.Add(seed)
	}
	known := []string{"source", "type", "key", "messageId", "prefix", "after", "from", "to", "limit"}
	f.Fuzz(func(t *testing.T, query string) {
		filter, err := parseFilter(query)
		if err != nil {
			var bad badParameter
			if !errors.As(err, &bad) || bad.name == "" || bad.reason == "" {
				t.Errorf("%q: error %#v", query, err)
			}
			return
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatalf("%q is accepted: %v", query, err)
		}
		for name, all := range values {
			if !slices.Contains(known, name) || len(all) != 1 || all[0] == "" {
				t.Errorf("%q: %s=%q is accepted", query, name, all)
			}
		}
		if filter.Limit < 0 || values.Has("limit") != (filter.Limit > 0) {
			t.Errorf("%q: limit %d", query, filter.Limit)
		}
		// The rest is compared with a filter made directly from the values.
		moment := func(name string) (at time.Time) {
			if values.Has(name) {
				var err error
				if at, err = time.Parse(time.RFC3339, values.Get(name)); err != nil {
					t.Errorf("%q: %s is accepted: %v", query, name, err)
				}
			}
			return at
		}
		want := hookgate.EventFilter{
			Source: values.Get("source"), EventType: values.Get("type"), OrderingKey: values.Get("key"),
			MessageID: values.Get("messageId"), MessageIDPrefix: values.Get("prefix"), After: values.Get("after"), Limit: filter.Limit,
		}
		if from, to := moment("from"), moment("to"); !filter.From.Equal(from) || !filter.To.Equal(to) {
			t.Errorf("%q: from %v to %v, want %v and %v", query, filter.From, filter.To, from, to)
		}
		filter.From, filter.To = time.Time{}, time.Time{}
		if filter != want {
			t.Errorf("%q: filter %+v, want %+v", query, filter, want)
		}
	})
}
