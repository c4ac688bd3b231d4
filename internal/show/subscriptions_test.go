package show

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"testing"

	"github.com/hookgate/hookgate/api"
)

// read parses what a gate answers.
func read[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// printed compares what a function prints.
func printed(t *testing.T, want string, print func(io.Writer) error) {
	t.Helper()
	var out bytes.Buffer
	if err := print(&out); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestSubscriptionTables: the list has a line for each subscription, and the details say in words
// what the state means.
func TestSubscriptionTables(t *testing.T) {
	all := read[[]api.Subscription](t, `[
		{"name":"billing","state":"delivering","order":"key","filter":{"types":["invoice.*"],
	"sources":["stripe"]},
		"definition":{"push":{"url":"http://10.0.0.7/hooks","timeout":"30s","concurrency":32},
		"retry":{"first":"1s","max":"5m0s","for":"72h0m0s"},"then":"dead_letter"},
		"cursor":"7","end":"9","lagSeconds":1.2345,"backlog":2,"waiting":1,"parked":2,"dead":3,
		"held":1,"owner":"gate-1",
		"createdAt":"2026-11-24T02:14:58Z","lastDeliveredAt":"2026-11-24T03:00:00Z",
		"live":{"inFlight":3,"limit":16,"breaker":"half_open"}},
		{"name":"search","state":"paused","order":"none","filter":{},"cursor":"0","end":"9",
	"lagSeconds":7325,"backlog":100000,"definition":{"handler":{"timeout":"30s","concurrency":1}},
		 "owner":"","pausedAt":"2026-11-24T03:00:00Z","createdAt":"2026-11-24T02:14:58Z"},
		{"name":"stock","state":"pulled","order":"key","filter":{},"cursor":"9","end":"9",
		"definition":{"pull":{}},"leases":1,"leased":20,"pulledAt":"2026-11-24T03:00:00Z","idle":"1h0m0s",
		"createdAt":"2026-11-24T02:14:58Z"}]`)
	printed(t, `NAME     STATE       CONSUMER               LAG    BACKLOG  WAITING  PARKED  DEAD  OWNER
billing  delivering  http://10.0.0.7/hooks  1.23s  2        1        2       3     gate-1
search   paused      a Go function          2h2m   100000+  0        0       0     -
stock    pulled      pull                   0s     0        0        0       0     -
`, func(w io.Writer) error { return Subscriptions(w, all) })
	printed(t, `subscription    billing, delivering
consumer        http://10.0.0.7/hooks, timeout 30s, 32 attempts at a time
events          invoice.* of stripe, order key
retries         after 1s, then up to 5m apart, for 72h; then dead letter
cursor          7 of 9, lag 1.23s, backlog 2
exceptions      1 waiting, 2 parked, 3 dead; 1 key waits
last delivered  2026-11-24T03:00:00Z
owner           gate-1
now             3 in flight of at most 16, breaker half open
created         2026-11-24T02:14:58Z
`, func(w io.Writer) error { return Subscription(w, &all[0]) })
	printed(t, `subscription    search, paused since 2026-11-24T03:00:00Z by the gate: no reason given
consumer        a Go function, timeout 30s, 1 call at a time
events          all types of all sources, order none
cursor          0 of 9, lag 2h2m, backlog 100000+
exceptions      0 waiting, 0 parked, 0 dead; 0 keys wait
last delivered  never
owner           no process delivers it
created         2026-11-24T02:14:58Z
`, func(w io.Writer) error { return Subscription(w, &all[1]) })
	printed(t, `subscription    stock, pulled
consumer        clients pull: 1 lease with 20 events, last call 2026-11-24T03:00:00Z
temporary       until no client has called for 1h
events          all types of all sources, order key
cursor          9 of 9, lag 0s, backlog 0
exceptions      0 waiting, 0 parked, 0 dead; 0 keys wait
last delivered  never
created         2026-11-24T02:14:58Z
`, func(w io.Writer) error { return Subscription(w, &all[2]) })
}

// TestExceptionAndJobTables: exceptions and jobs are lines whose text breaks no table.
func TestExceptionAndJobTables(t *testing.T) {
	exceptions := read[[]api.Exception](t, `[
		{"event":"17","state":"waiting","key":"k\t1","attempts":2,"due":"2026-11-24T03:00:00Z",
	"reason":"503: a\nb","status":503,
		 "changedAt":"2026-11-24T02:00:00Z","source":"stripe","eventType":"paid","messageId":"evt-1"},
		{"event":"18","redelivery":2,"state":"dead","key":"","attempts":1,"reason":"no connection",
	"status":0,
		 "changedAt":"2026-11-24T02:00:00Z","source":"stripe","eventType":"paid","messageId":"evt-2"}]`)
	printed(t, `EVENT       STATE    SINCE                 NEXT                  ATTEMPTS  STATUS  SOURCE  TYPE  MESSAGE ID  KEY   REASON
17          waiting  2026-11-24T02:00:00Z  2026-11-24T03:00:00Z  2         503     stripe  paid  evt-1       k\t1  503: a\nb
18 again 2  dead     2026-11-24T02:00:00Z  -                     1         -       stripe  paid  evt-2       -     no connection
`, func(w io.Writer) error {
		return Exceptions(w, func(yield func(api.Exception, error) bool) {
			slices.Values(exceptions)(func(e api.Exception) bool { return yield(e, nil) })
		})
	})
	jobs := read[[]api.RedeliveryJob](t, `[
		{"id":"2","state":"running","after":"5","until":"9","filter":{"types":["a.*"]},"key":"k1",
	"rate":50,"delivered":3,"by":"alice","createdAt":"2026-11-24T02:00:00Z"},
		{"id":"1","state":"done","events":["5"],"failed":1,"by":"alice","reason":"lost",
	"createdAt":"2026-11-24T02:00:00Z","endedAt":"2026-11-24T03:00:00Z"}]`)
	printed(t, `JOB  STATE    EVENTS                                    DELIVERED  FAILED  RATE  CREATED               ENDED                 BY     REASON
2    running  after 5 to 9, a.* of all sources, key k1  3          0       50/s  2026-11-24T02:00:00Z  -                     alice  -
1    done     1 event                                   0          1       -     2026-11-24T02:00:00Z  2026-11-24T03:00:00Z  alice  lost
`, func(w io.Writer) error { return RedeliveryJobs(w, jobs) })
}

// TestSeekText: the text says what becomes of the events, and whether it was a dry run.
func TestSeekText(t *testing.T) {
	printed(t, `cursor      billing, from 9 to 2 (dry run: nothing has changed)
events      100000+ between the two, before the filter: delivered again as redelivery 3
exceptions  0 skipped, 4 deleted
`, func(w io.Writer) error {
		return Sought(w, "billing", &api.Sought{From: "9", To: "2", Events: 100_000, Deleted: 4,
			Redelivery: 3, DryRun: true})
	})
	printed(t, `cursor      billing, from 2 to 9
events      7 between the two, before the filter: not delivered
exceptions  1 skipped, 0 deleted
`, func(w io.Writer) error {
		return Sought(w, "billing", &api.Sought{From: "2", To: "9", Events: 7, Skipped: 1})
	})
}

// TestDeliveryStages: the stages of a delivery are shown in words, those of storing as before, and
// long times in seconds.
func TestDeliveryStages(t *testing.T) {
	trail := read[[]api.RequestTrail](t, `[{"requestId":"r","stages":[
		{"stage":"received","timestamp":"2026-11-24T02:00:00Z","metadata":{"remoteAddr":"a"}},
		{"stage":"attempt_failed","timestamp":"2026-11-24T02:00:00.25Z",
	"metadata":{"subscription":"billing","attempt":1,"redelivery":0,"status":503,"durationMs":31.4,
	"reason":"503: busy"}},
		{"stage":"delivered","timestamp":"2026-11-24T03:00:00Z","metadata":{"subscription":"billing",
	"attempt":2,"redelivery":0,"status":200,"durationMs":12}},
		{"stage":"redelivered","timestamp":"2026-11-24T03:00:01Z",
	"metadata":{"subscription":"billing","redelivery":3,"by":"alice",
	"reason":"lost its database"}},
		{"stage":"skipped","timestamp":"2026-11-24T03:00:02Z","metadata":{"subscription":"billing",
	"attempt":4,"redelivery":3,"by":"alice"}}]}]`)
	printed(t, `request r
  received        2026-11-24T02:00:00.000000Z               {"remoteAddr":"a"}
  attempt_failed  2026-11-24T02:00:00.250000Z  +250.000 ms  billing: attempt 1, 31 ms: 503: busy
  delivered       2026-11-24T03:00:00.000000Z  +1h0m0s      billing: attempt 2, status 200, 12 ms
  redelivered     2026-11-24T03:00:01.000000Z  +1h0m1s      billing: redelivery 3, by alice: lost its database
  skipped         2026-11-24T03:00:02.000000Z  +1h0m2s      billing: redelivery 3, by alice
`, func(w io.Writer) error { return Trails(w, trail) })
}
