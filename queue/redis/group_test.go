package redis

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/redistest"
)

// appendTogether appends requests concurrently while the server hangs. When all of them wait, it
// lets the server go on. It returns the result of each.
func appendTogether(t *testing.T, server *redistest.Server, q *Queue,
	requests []*hookgate.Request) ([]hookgate.Receipt, []error) {
	t.Helper()
	server.Hang()
	receipts, errs := make([]hookgate.Receipt, len(requests)), make([]error, len(requests))
	var all sync.WaitGroup
	for i, d := range requests {
		all.Go(func() { receipts[i], errs[i] = q.Append(t.Context(), d) })
	}
	eventually(t, "all wait for their turn", func() bool {
		a := &q.appenders[0]
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.inFlight == maxInFlight && len(a.waiting) == len(requests)-maxInFlight
	})
	server.Resume()
	all.Wait()
	return receipts, errs
}

// calls returns how often the server has run a command.
func calls(server *redistest.Server, command string) int {
	_, rest, _ := strings.Cut(server.MustDo("INFO", "commandstats"), "cmdstat_"+command+":calls=")
	n, _, _ := strings.Cut(rest, ",")
	count, _ := strconv.Atoi(n)
	return count
}

// TestGroup: concurrent appends share calls. Each has a receipt of its own. If a group has several
// requests of one identity, the first is accepted and the others are duplicates.
func TestGroup(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 4, HighWater: 10_000})
	mustAppend(t, q, testRequest("warm", 0)) // now the server has the script
	var requests []*hookgate.Request
	for n := range 200 {
		d := testRequest("k"+strconv.Itoa(n%7), n)
		again := *d
		if n%3 > 0 {
			again.RequestID = hookgate.NewRequestID(d.ReceivedAt) // another request with the same event
		}
		requests = append(requests, d, &again)
	}
	before := calls(server, "evalsha")
	receipts, errs := appendTogether(t, server, q, requests)
	// The keeper makes some calls too.
	if n := calls(server, "evalsha") - before; n > len(requests)/maxGroup+1+maxInFlight+20 {
		t.Errorf("%d appends took %d calls", len(requests), n)
	}
	firsts := map[hookgate.RequestID]bool{}
	for i := 0; i < len(requests); i += 2 {
		if err := errors.Join(errs[i], errs[i+1]); err != nil {
			t.Fatal(err)
		}
		d, again, a, b := requests[i], requests[i+1], receipts[i], receipts[i+1]
		switch {
		case d.RequestID == again.RequestID: // the same request, sent twice: one record
			if a != b || a.Duplicate() {
				t.Errorf("a request sent twice got %+v and %+v", a, b)
			}
		case a.Duplicate() == b.Duplicate(), a.Duplicate() && a.DuplicateOf != again.RequestID,
			b.Duplicate() && b.DuplicateOf != d.RequestID:
			t.Errorf("two requests with one event got %+v and %+v", a, b)
		}
		firsts[d.RequestID], firsts[again.RequestID] = !a.Duplicate(), !b.Duplicate()
	}
	c := mustOpenReader(t, q)
	for _, r := range mustNext(t, c, 1+200+133) {
		if first, ours := firsts[r.RequestID]; ours && (first != r.DuplicateOf.IsZero() ||
			first != (len(r.Body) == 600)) {
			t.Errorf("record of request %s: first %t, duplicate of %s, %d bytes", r.RequestID, first,
				r.DuplicateOf, len(r.Body))
		}
		delete(firsts, r.RequestID)
	}
	if len(firsts) > 0 {
		t.Errorf("%d requests are not in the queue", len(firsts))
	}
}

// TestGroupWithBadLog: a partition whose log is not a stream fails alone, although its appends
// share calls with others.
func TestGroupWithBadLog(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 2})
	mustAppend(t, q, testRequest("k", 0))
	bad := hookgate.Partition("k", 2)
	server.MustDo("SET", q.keys.log[bad], "no stream")
	var requests []*hookgate.Request
	for n := range 50 {
		requests = append(requests, testRequest(strconv.Itoa(n), n))
	}
	_, errs := appendTogether(t, server, q, requests)
	for i, err := range errs {
		if inBad := hookgate.Partition(requests[i].OrderingKey, 2) == bad; inBad != (err != nil) {
			t.Errorf("partition is bad: %t, append: %v", inBad, err)
		}
	}
	server.MustDo("DEL", q.keys.log[bad])
	for _, d := range requests {
		if r := mustAppend(t, q, d); r.Duplicate() {
			t.Fatalf("what failed is claimed: %+v", r)
		}
	}
	mustNext(t, mustOpenReader(t, q), len(requests))
}

// TestGroupTimesOut: when a group times out, the appends that wait for it fail at once, and not
// after a time-out of their own.
func TestGroupTimesOut(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 1, OpTimeout: 500 * time.Millisecond})
	mustAppend(t, q, testRequest("k", 0))
	server.Hang()
	began := time.Now()
	var all sync.WaitGroup
	for n := range 3 * maxGroup {
		all.Go(func() {
			if _, err := q.Append(t.Context(), testRequest("k", n)); err == nil ||
				!strings.Contains(err.Error(), "no answer within") {
				t.Errorf("append to a hanging server: %v", err)
			}
		})
	}
	all.Wait()
	if took := time.Since(began); took > time.Minute {
		t.Errorf("the last append failed after %v", took)
	}
	server.Resume()
	eventually(t, "the queue finds Redis well again without traffic",
		func() bool { return healthy(q) })
	mustAppend(t, q, testRequest("k", 0))
}

// TestCloseWithWaiting: when the queue closes, waiting appends return an error although the server
// hangs.
func TestCloseWithWaiting(t *testing.T) {
	const callers = 3 * maxGroup
	server := redistest.Start(t, redistest.Options{})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 4, OpTimeout: 3 * time.Minute})
	mustAppend(t, q, testRequest("k", 0))
	server.Hang()
	var all sync.WaitGroup
	for n := range callers {
		all.Go(func() {
			if _, err := q.Append(t.Context(), testRequest(strconv.Itoa(n), n)); err == nil {
				t.Error("an append is acknowledged by a server that hangs")
			}
		})
	}
	a := &q.appenders[0]
	eventually(t, "all but those under way wait", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.inFlight == maxInFlight && len(a.waiting) == callers-maxInFlight
	})
	q.Close()
	all.Wait()
	if a.inFlight != 0 || len(a.waiting) != 0 {
		t.Errorf("%d groups are under way and %d calls wait", a.inFlight, len(a.waiting))
	}
	server.Resume()
}

// Goal: an append that timed out does not read its request later. Method: a server hangs until the
// appends have timed out and their callers have overwritten the requests. Then it goes on; it may
// still receive the appends. The same requests are appended again, which adds nothing where the
// first append arrived. So each record has the bytes of the append that arrived first.
func TestTimedOutRequestIsTheCallers(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	q := mustOpen(t, Config{URL: server.URL(), Partitions: 1, OpTimeout: 300 * time.Millisecond})
	mustAppend(t, q, testRequest("k", 1000))
	want := map[string]string{}
	var requests []*hookgate.Request
	for n := range 50 {
		r := testRequest("k", n)
		requests = append(requests, r)
		want[r.MessageID] = string(r.Body)
	}
	server.Hang()
	var all sync.WaitGroup
	for _, r := range requests {
		all.Go(func() {
			given := *r
			given.Body = slices.Clone(r.Body)
			if _, err := q.Append(t.Context(), &given); err == nil {
				t.Error("an append is acknowledged by a server that hangs")
			}
			clear(given.Body)
			given = hookgate.Request{}
		})
	}
	all.Wait()
	server.Resume()
	eventually(t, "the queue works again", func() bool { return healthy(q) })
	for _, r := range requests {
		if receipt := mustAppend(t, q, r); receipt.Duplicate() {
			t.Errorf("the same request again is a duplicate of %s", receipt.DuplicateOf)
		}
	}
	for _, r := range mustNext(t, mustOpenReader(t, q), 1+len(requests))[1:] {
		if string(r.Body) != want[r.MessageID] {
			t.Errorf("%s came back as %.20q, want %.20q", r.MessageID, r.Body, want[r.MessageID])
		}
		delete(want, r.MessageID)
	}
	if len(want) > 0 {
		t.Errorf("%d requests are missing", len(want))
	}
}
