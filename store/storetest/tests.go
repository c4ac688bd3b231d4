package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
)

// testTraffic returns record n of a key in the form that certify sends.
func testTraffic(key string, n int) hookgate.Record {
	r := record(key, n)
	r.Source, r.EventType = hookgate.TestSource, "certify.a"
	return r
}

// mustPurgeTests removes test traffic in steps of at most limit events, and returns how many were
// removed.
func mustPurgeTests(t TB, s Instance, limit int) (n int64) {
	t.Helper()
	for {
		p, err := s.PurgeTests(context.Background(), limit)
		if err != nil {
			t.Fatalf("purge test traffic: %v", err)
		}
		if p.Events > int64(max(1, limit)) || p.More && p.Events == 0 {
			t.Fatalf("a step of %d removed %+v", limit, p)
		}
		if n += p.Events; !p.More {
			return n
		}
	}
}

// kept is an event with its body.
type kept struct {
	hookgate.StoredEvent
	body []byte
}

// allKept returns the events of a source with their bodies.
func allKept(t TB, s Instance, source string) (all []kept) {
	t.Helper()
	for _, e := range list(t, s, hookgate.EventFilter{Source: source}) {
		body, err := s.Body(context.Background(), e.ID)
		if err != nil {
			t.Fatalf("body of event %s: %v", e.ID, err)
		}
		all = append(all, kept{e, body})
	}
	return all
}

// testPurgeTests: among real events, test events, duplicates and dead letters only the test events
// are removed. The audit holds after each step. Then retention removes the rest.
func testPurgeTests(t *testing.T, s Instance) {
	o := own(t, s, 0, 1)
	var real []string
	trail := cut()
	for round := range 6 {
		var b []hookgate.Record
		for p := range 2 {
			for n := range 3 {
				key, r := fmt.Sprint("real", p), record
				if (round+n)%2 == 0 {
					key, r = fmt.Sprint("test", p), testTraffic
				} else {
					real = append(real, fmt.Sprintf("%s-%d", key, round*10+n))
				}
				one := r(key, round*10+n)
				one.Partition = p
				b = append(b, one)
			}
			known := again(b[len(b)-1])
			known.DuplicateOf, known.Body = b[len(b)-1].RequestID, nil
			b = append(b, known)
		}
		whole := o.batch(b...)
		if round == 2 {
			whole.Dead = []hookgate.DeadLetter{{Record: testTraffic("dead", 1), Reason: "at fault"},
				{Record: record("dead", 2), Reason: "at fault"}}
		}
		mustApply(t, s, whole)
		if round == 2 {
			trail = cut()
		}
	}
	before := allKept(t, s, "default")
	tests := allKept(t, s, hookgate.TestSource)
	if p, err := s.PurgeTests(t.Context(), 1); err != nil || p.Events != 1 || !p.More ||
		p.Bytes != int64(len(tests[0].body)) {
		t.Errorf("a step of one removed %+v (error %v)", p, err)
	}
	mustVerify(t, s)
	if n := mustPurgeTests(t, s, 4); n != int64(len(tests)-1) {
		t.Errorf("%d more were removed, want %d", n, len(tests)-1)
	}
	mustVerify(t, s)
	if n := mustPurgeTests(t, s, 4); n != 0 {
		t.Errorf("repeated, it removed %d", n)
	}
	mustHave(t, s, hookgate.StoreCounts{Duplicates: 12, DeadLetters: 2}, real...)
	if after := allKept(t, s, "default"); !reflect.DeepEqual(after, before) {
		t.Errorf("real events changed from\n%+v to\n%+v", before, after)
	}
	for _, e := range tests {
		if _, err := s.Event(t.Context(), e.ID); !errors.Is(err, hookgate.ErrNotFound) {
			t.Errorf("event %s is answered with %v, want ErrNotFound", e.ID, err)
		}
		if _, err := s.Body(t.Context(), e.ID); !errors.Is(err, hookgate.ErrNotFound) {
			t.Errorf("body %s is answered with %v, want ErrNotFound", e.ID, err)
		}
	}
	for id, want := range map[string]string{"test0-0": "removed", "real0-1": "persisted"} {
		if got := stages(t, s, id); len(got) == 0 ||
			!slices.ContainsFunc(got, func(trail string) bool { return strings.HasSuffix(trail, want) }) {
			t.Errorf("the trails of %s are %q, want one that ends with %s", id, got, want)
		}
	}
	for most, want := range map[int64]int64{1: 1, 10: 2} {
		if n, err := s.OpenDeadLetters(t.Context(), most); err != nil || n != want {
			t.Errorf("%d dead letters are open, of %d at most (error %v)", n, most, err)
		}
	}
	for _, d := range deadLetters(t, s, hookgate.DeadLetterFilter{}) {
		if body, err := s.DeadLetterBody(t.Context(), d.ID); err != nil || len(body) == 0 {
			t.Errorf("the body of dead letter %s is %q (error %v)", d.ID, body, err)
		}
	}

	o.mustApply(t, testTraffic("late", 1), record("late", 2), testTraffic("late", 3))
	if n := mustPurgeTests(t, s, 100); n != 2 {
		t.Errorf("%d were removed, want the two that came later", n)
	}
	at := cut()
	for _, limit := range []int{1, 0, 2, 3, 1} {
		if _, err := s.Prune(t.Context(), hookgate.Cutoffs{Events: at, Trail: trail}, limit); err != nil {
			t.Fatalf("prune: %v", err)
		}
		mustVerify(t, s)
	}
	mustPrune(t, s, hookgate.Cutoffs{Events: at, Trail: trail}, 5)
	mustVerify(t, s)
	if got := stages(t, s, "test0-0"); len(got) != 0 {
		t.Errorf("retention left the trails %q of a test event", got)
	}
	mustPrune(t, s, hookgate.Cutoffs{Events: at, Trail: at}, 5)
	mustVerify(t, s)
	mustHave(t, s, hookgate.StoreCounts{DeadLetters: 2})
	o.mustApply(t, testTraffic("test0", 0), record("real0", 1))
	mustHave(t, s, hookgate.StoreCounts{DeadLetters: 2}, "test0-0", "real0-1")
}

// testPurgeTestsAtTheEnd: the removed events can have the highest ids. Those ids are not reused,
// and retention removes their links although no event follows them.
func testPurgeTestsAtTheEnd(t *testing.T, s Instance) {
	o := own(t, s, 0)
	o.mustApply(t, record("real", 1))
	o.mustApply(t, testTraffic("test", 1), testTraffic("test", 2))
	o.mustApply(t, testTraffic("test", 3))
	gone := list(t, s, hookgate.EventFilter{Source: hookgate.TestSource})
	if n := mustPurgeTests(t, s, 100); n != 3 {
		t.Errorf("%d were removed, want 3", n)
	}
	o.mustApply(t, testTraffic("test", 1))
	if next := list(t, s, hookgate.EventFilter{Source: hookgate.TestSource,
		After: gone[2].ID}); len(next) != 1 {
		t.Errorf("behind the last that went comes %+v, want the one that came again", next)
	}
	mustVerify(t, s)
	mustPurgeTests(t, s, 1)
	at := cut()
	if p := mustPrune(t, s, hookgate.Cutoffs{Events: at, Trail: at}, 2); p.Events != 1 ||
		p.Entries != 5 {
		t.Errorf("removed was %+v, want the body of the real event and all 5 entries", p)
	}
	mustHave(t, s, hookgate.StoreCounts{})
	mustVerify(t, s)
	o.mustApply(t, testTraffic("test", 1), record("real", 1))
	if n := mustPurgeTests(t, s, 1); n != 1 {
		t.Errorf("%d were removed, want 1", n)
	}
	mustHave(t, s, hookgate.StoreCounts{}, "real-1")
}

// testPurgeTestsRequestBodies: the body of a request that carried several test events is removed
// with the last of them. The body of a request of another source stays.
func testPurgeTestsRequestBodies(t *testing.T, s Instance) {
	o := own(t, s, 0)
	real := several(t, 1, "1", "2")
	tests := several(t, 2, "3", "4", "5")
	for i := range tests {
		tests[i].Source = hookgate.TestSource
	}
	o.mustApply(t, append(slices.Clone(real), tests...)...)
	for step, want := range []bool{true, true, false} {
		p, err := s.PurgeTests(t.Context(), 1)
		if err != nil || p.Events != 1 {
			t.Fatalf("step %d removed %+v (error %v)", step, p, err)
		}
		if _, err := s.RequestBody(t.Context(), tests[0].Whole.RequestID); (err == nil) != want {
			t.Errorf("after step %d the request's body is kept: %v (error %v)", step, err == nil, err)
		}
		mustVerify(t, s)
	}
	if body, err := s.RequestBody(t.Context(), real[0].Whole.RequestID); err != nil ||
		!bytes.Equal(body, []byte("bb")) {
		t.Errorf("the body of the other request is %q (error %v)", body, err)
	}
}

// testPurgeTestsWhileWriting: removal of test traffic, retention and new events do not disturb each
// other, and no audit in between finds a break.
func testPurgeTestsWhileWriting(t *testing.T, s Instance) {
	o := own(t, s, 0)
	stop := make(chan struct{})
	loop := func(step func() error) <-chan error {
		done := make(chan error, 1)
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				if err := step(); err != nil {
					done <- err
					return
				}
			}
		}()
		return done
	}
	removal := loop(func() error {
		_, err := s.PurgeTests(context.Background(), 3)
		return err
	})
	at := cut()
	retention := loop(func() error {
		_, err := s.Prune(context.Background(), hookgate.Cutoffs{Events: at, Trail: at}, 3)
		return err
	})
	var real []string
	for n := range 20 {
		r := record("real", n)
		real = append(real, r.MessageID)
		outcome := o.mustApply(t, testTraffic("a", n), r, testTraffic("b", n))
		if outcome.Stored != 3 {
			t.Errorf("batch %d: %+v", n, outcome)
		}
		if n%5 == 0 {
			mustVerify(t, s)
		}
	}
	close(stop)
	for name, done := range map[string]<-chan error{"removal": removal, "retention": retention} {
		if err := <-done; err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	mustPurgeTests(t, s, 100)
	mustHave(t, s, hookgate.StoreCounts{}, real...)
}

// testPurgeTestsFails: a step fails before it takes effect, and another after. After the step is
// repeated, exactly the test events are gone. A failed step does not let anybody else remove rows.
func testPurgeTestsFails(t *testing.T, b Backend, done bool) {
	s := open(t, b)
	o := own(t, s, 0)
	for n := range 4 {
		o.mustApply(t, testTraffic("test", n), record("real", n))
	}
	for range 2 {
		s.FailWrites(&done)
		if _, err := s.PurgeTests(t.Context(), 2); err == nil ||
			!strings.Contains(err.Error(), "injected") {
			t.Fatalf("the removal got %v, want the injected error", err)
		}
		s.FailWrites(nil)
		mustVerify(t, s)
	}
	mustPurgeTests(t, s, 2)
	mustHave(t, s, hookgate.StoreCounts{}, "real-0", "real-1", "real-2", "real-3")
	mustVerify(t, s)
}

// FillTests stores 3 batches of partition 0, each with a real event between two of test traffic. It
// removes the test events of the first two: events 1, 3, 4 and 6. Events 2, 5 and 8 are real.
func FillTests(t TB, s interface {
	hookgate.Store
	hookgate.Purger
}) {
	t.Helper()
	epoch, err := s.Acquire(context.Background(), 0)
	if err != nil {
		t.Fatalf("acquire: %v", err)
	}
	for round := range 3 {
		b := &hookgate.Batch{Epochs: map[int]hookgate.Epoch{0: epoch}, Worker: "w", Attempts: 1}
		for n := range 3 {
			r := Sample(0, round*10+n)
			if n != 1 {
				r.Source = hookgate.TestSource
			}
			b.Records = append(b.Records, r)
		}
		mustApply(t, s, b)
	}
	if p, err := s.PurgeTests(context.Background(), 4); err != nil || p.Events != 4 || !p.More {
		t.Fatalf("the removal did %+v (error %v)", p, err)
	}
}

// TestTamperings returns changes to a store that FillTests has filled; see Tamperings.
func TestTamperings(literal func(hex string) string) []Tampering {
	move := func(id string) string {
		return "INSERT INTO webhook_removed_events (" + removedLineage + ", removed_at) SELECT " +
			removedLineage +
			", 1 FROM webhook_events WHERE id = " + id + "; DELETE FROM webhook_events WHERE id = " + id
	}
	const counted = "; UPDATE webhook_removals SET events = events + 1"
	const alike = "; UPDATE webhook_removed_events SET source = '" + hookgate.TestSource +
		"' WHERE id = 5"
	return []Tampering{
		{"real event removed", move("5") + counted,
			`(batch 2): event 5 (message id "0-11"): retention has removed the bodies up to event 0,` +
				` and this one is missing`},
		{"real event removed as a test", move("5") + alike + counted, "(batch 2): its hash does not fit"},
		{"last event removed", move("8") + counted, "(batch 3): event 8"},
		{"row of a test event missing", "DELETE FROM webhook_removed_events WHERE id = 4",
			"(batch 2): has 2 events"},
		{"test event missing", "DELETE FROM webhook_events WHERE id = 9", "(batch 3): has 2 events"},
		{"test event uncounted", move("7"), "retention counts 4 events"},
		{"test event put back, and left", "INSERT INTO webhook_events (" + removedLineage +
			", payload, identity) SELECT " + removedLineage +
			", " + literal("61") + ", " + literal("00") + " FROM webhook_removed_events WHERE id = 4",
			"(batch 2): "},
		{"test event put back", "INSERT INTO webhook_events (" + removedLineage +
			", payload, identity) SELECT " + removedLineage +
			", " + literal("61") + ", " + literal("00") +
			" FROM webhook_removed_events WHERE id = 4; DELETE FROM webhook_removed_events WHERE id = 4",
			"(batch 2): the body of event 4"},
		{"test event called a real one",
			"UPDATE webhook_removed_events SET source = 'default' WHERE id = 4", "(batch 2): event 4"},
		{"another body", "UPDATE webhook_removed_events SET sha256 = " +
			literal(strings.Repeat("00", 32)) + " WHERE id = 3",
			"(batch 1): its hash does not fit"},
		{"another message id", "UPDATE webhook_removed_events SET message_id = 'x' WHERE id = 6",
			"(batch 2): its hash does not fit"},
		{"horizon raised over a real event", "UPDATE webhook_removals SET last_event = 2",
			"(batch 1): event 2"},
	}
}
