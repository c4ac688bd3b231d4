package queuetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/hookgate/hookgate"
)

// copyOf returns a request that shares no memory with r.
func copyOf(r *hookgate.Request) *hookgate.Request {
	c := *r
	c.Body, c.Headers, c.Parts = slices.Clone(r.Body), slices.Clone(r.Headers), slices.Clone(r.Parts)
	return &c
}

// overwrite changes everything that a request refers to, like a caller that uses its memory again.
func overwrite(r *hookgate.Request) {
	for i := range r.Body {
		r.Body[i] = '#'
	}
	for i := range r.Headers {
		r.Headers[i] = hookgate.Header{Name: "#", Value: "#"}
	}
	for i := range r.Parts {
		r.Parts[i] = '#'
	}
	*r = hookgate.Request{}
}

// testOwnership: Append never refers to the request after it has returned, with an error or
// without. Many callers append at once. Half of their contexts end at a random moment. Each caller
// overwrites its request as soon as Append returns. The queue must still have the original. Under
// the race detector, any later read of the request is a race.
func testOwnership(t *testing.T, b QueueBackend) {
	q := openQueue(t, b)
	const callers, each = 32, 8
	want := map[string]string{} // bodies and first headers by message id
	var all []*hookgate.Request
	for caller := range callers {
		for n := range each {
			var r *hookgate.Request
			if key := fmt.Sprint("caller-", caller); n%4 == 3 {
				ids := []string{fmt.Sprint(key, "-", n, "a"), fmt.Sprint(key, "-", n, "b")}
				r = severalEvents("12", ids...)
				want[ids[0]], want[ids[1]] = "1 k", "2 k"
			} else {
				r = newRequest(key, n)
				want[r.MessageID] = fmt.Sprintf("%s %s", r.Body, key)
			}
			all = append(all, r)
		}
	}
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for n := range each {
				r := all[caller*each+n]
				ctx, cancel := context.WithCancel(context.Background())
				if n%2 == 1 {
					go cancel()
				}
				given := copyOf(r)
				_, err := q.Append(ctx, given)
				overwrite(given)
				cancel()
				if err == nil {
					continue
				}
				// The outcome is unknown; the same request again makes it known.
				given = copyOf(r)
				if _, err := q.Append(context.Background(), given); err != nil {
					t.Errorf("append %s again: %v", r.Identity, err)
				}
				overwrite(given)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	events, _ := split(q.Kept(t, len(all)))
	for _, e := range events {
		if len(e.Headers) == 0 {
			t.Errorf("%s is kept without its headers", e.Identity)
			continue
		}
		if got := fmt.Sprintf("%s %s", e.Body, e.Headers[0].Value); got != want[e.MessageID] {
			t.Errorf("%s is kept as %q, want %q", e.Identity, got, want[e.MessageID])
		}
		delete(want, e.MessageID)
	}
	if len(want) > 0 {
		t.Errorf("%d events are not kept", len(want))
	}
}
