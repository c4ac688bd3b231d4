package certify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/load"
)

// world is a ledger and the result in a gate.
type world struct {
	attempts []load.Attempt
	stored   []*worldEvent
	trails   map[string][]requestTrail
}

type worldEvent struct {
	listed     listedEvent
	sha        string
	size       int
	sent, end  int64 // of the request that was stored, in microseconds
	accepted   bool
	body, line string // the result of a second reading, if it differs
}

var epoch = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

func at64(us int64) time.Time { return epoch.Add(time.Duration(us) * time.Microsecond) }

func stamp(us int64) string { return at64(us).Format(time.RFC3339Nano) }

func shaOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// drawWorld draws requests of a few keys, those of each key in order, and answers them as a correct
// gate may: it rejects some, loses some before or after they are stored, and gets some again with
// another body. The stored events keep the order of each key.
func drawWorld(t *rapid.T) *world {
	w := &world{trails: map[string][]requestTrail{}}
	type claim struct {
		id    string
		event *worldEvent
	}
	claims := map[string]*claim{}
	perKey := map[string][]*worldEvent{}
	clock := map[string]int64{}
	keys := []string{"a", "b", "c"}
	events := rapid.IntRange(1, 25).Draw(t, "events")
	sequences := map[string]int64{}
	line := 0
	send := func(message, key string, sequence int64, body string) {
		line++
		now := clock[key] + int64(rapid.IntRange(1, 500).Draw(t, "pause"))
		took := int64(rapid.IntRange(1, 2000).Draw(t, "took"))
		clock[key] = now + took
		id := hookgate.NewRequestID(at64(now)).String()
		a := load.Attempt{Line: line, Attempt: 1, MessageID: message, EventType: "t", OrderingKey: key,
			Sequence: sequence, SHA256: shaOf(body),
			Due: at64(now), Sent: at64(now), LatencyUS: took}
		outcome := rapid.SampledFrom([]string{"ok", "ok", "ok", "ok", "ok", "refused", "broken",
			"broken after", "lost", "lost after"}).Draw(t, "outcome")
		taken := outcome == "ok" || outcome == "broken after" || outcome == "lost after"
		stages := []string{"received", "enqueued", "processed", "persisted"}
		if taken {
			if c := claims[message]; c != nil {
				stages[3] = "duplicate"
				if rapid.IntRange(0, 4).Draw(t, "spooled") == 0 { // only its store recognises it
					stages = slices.Insert(stages, 1, "spooled")
				} else {
					a.FirstRequestID, a.Note = c.id, "duplicate_detected"
				}
			} else {
				e := &worldEvent{sha: shaOf(body), size: len(body), sent: now, end: now + took,
					accepted: outcome == "ok"}
				e.listed = listedEvent{ID: fmt.Sprint(len(claims) + 1), Source: "default", MessageID: message,
					EventType: "t", OrderingKey: key,
					Sequence: &sequence, RequestID: id, Size: int64(len(body)), SHA256: e.sha,
					ReceivedAt: stamp(now), PersistedAt: stamp(now + 3), Partition: new(int64),
					Position: fmt.Sprintf("0-%d", len(claims)+1)}
				claims[message] = &claim{id, e}
				perKey[key] = append(perKey[key], e)
			}
			r := requestTrail{RequestID: id, EventType: "t", Source: "default"}
			for i, s := range stages {
				r.Stages = append(r.Stages, stage{Stage: s, Timestamp: at64(now + int64(i))})
			}
			w.trails[message] = append(w.trails[message], r)
		}
		switch outcome {
		case "ok":
			a.Status, a.RequestID = 202, id
		case "refused":
			a.Status, a.RequestID, a.FirstRequestID, a.Note = 400, id, "", ""
		case "broken", "broken after":
			a.Status, a.RequestID, a.FirstRequestID, a.Note = 503, id, "", ""
		default:
			a.FirstRequestID, a.Note = "", ""
		}
		w.attempts = append(w.attempts, a)
	}
	for i := range events {
		key := rapid.SampledFrom(keys).Draw(t, "key")
		sequences[key]++
		message, sequence, body := fmt.Sprintf("m-%d", i), sequences[key], fmt.Sprintf("body %d", i)
		send(message, key, sequence, body)
		for range rapid.IntRange(0, 2).Draw(t, "repeats") {
			if rapid.Bool().Draw(t, "changed") {
				body += "!"
			}
			send(message, key, sequence, body)
		}
	}
	// The keys can be in any order; the lines of the ledger are in the order in which the attempts
	// ended.
	for {
		var left []string
		for _, k := range keys {
			if len(perKey[k]) > 0 {
				left = append(left, k)
			}
		}
		if left == nil {
			break
		}
		k := rapid.SampledFrom(left).Draw(t, "next")
		w.stored = append(w.stored, perKey[k][0])
		perKey[k] = perKey[k][1:]
	}
	slices.SortStableFunc(w.attempts, func(a, b load.Attempt) int { return end(&a).Compare(end(&b)) })
	return w
}

func values[T any](all []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range all {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// check runs all checks and counts the violations of each.
func (w *world) check(t *rapid.T) map[string]int {
	a := newAccount("default")
	for i := range w.attempts {
		if err := a.add(&w.attempts[i]); err != nil {
			t.Fatal(err)
		}
	}
	var events []storedEvent
	var again []reading
	for _, e := range w.stored {
		text, err := json.Marshal(map[string]any{"id": e.listed.ID, "source": e.listed.Source,
			"messageId": e.listed.MessageID, "eventType": e.listed.EventType,
			"orderingKey": e.listed.OrderingKey, "sequence": e.listed.Sequence,
			"requestId": e.listed.RequestID, "receivedAt": e.listed.ReceivedAt,
			"persistedAt": e.listed.PersistedAt, "partition": e.listed.Partition,
			"position": e.listed.Position, "size": e.listed.Size, "sha256": e.listed.SHA256})
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, storedEvent{Event: text, BodySHA256: e.sha, BodySize: e.size})
		again = append(again, reading{ID: e.listed.ID, LineSHA256: shaOf(string(text) + e.line),
			BodySHA256: e.sha + e.body})
	}
	store, places, err := checkStored(a, values(events))
	if err != nil {
		t.Fatal(err)
	}
	changed, err := checkAgain(a, values(events), values(again))
	if err != nil {
		t.Fatal(err)
	}
	var trails []trail
	for message, requests := range w.trails {
		trails = append(trails, trail{message, requests})
	}
	lineage, err := checkLineage(a, values(trails))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for name, v := range map[string]violations{
		"missing": store.Missing, "twice": store.Twice, "foreign": store.Foreign,
		"content": store.Different, "changed": changed,
		"order": checkOrder(a, places).Inversions, "duplicates": checkDuplicates(a).Violations,
		"lineage": lineage.Violations,
		"times":   checkTimes(a, nil, time.Time{}, DefaultProfile()).Violations,
	} {
		if v.Count > 0 {
			found[name] = v.Count
		}
		if name == "missing" && t.Failed() {
			t.Log(v.First)
		}
	}
	return found
}

// worldFaults change a world in one way, if they can, and name the check that must find it.
var worldFaults = map[string]struct {
	found string
	do    func(t *rapid.T, w *world) bool
}{
	"lose an acknowledged event": {"missing", func(t *rapid.T, w *world) bool {
		i, ok := w.pick(t, func(e *worldEvent) bool { return w.acknowledged(e.listed.MessageID) })
		if ok {
			w.stored = slices.Delete(w.stored, i, i+1)
		}
		return ok
	}},
	"store twice": {"twice", func(t *rapid.T, w *world) bool {
		i, ok := w.pick(t, func(*worldEvent) bool { return true })
		if ok {
			again := *w.stored[i]
			again.listed.ID += "-again"
			w.stored = append(w.stored, &again)
		}
		return ok
	}},
	"store what was not sent": {"foreign", func(t *rapid.T, w *world) bool {
		i, ok := w.pick(t, func(*worldEvent) bool { return true })
		if ok {
			made := *w.stored[i]
			made.listed.ID, made.listed.MessageID = "made up", "made up"
			w.stored = append(w.stored, &made)
		}
		return ok
	}},
	"store what was refused": {"foreign", func(t *rapid.T, w *world) bool {
		for _, a := range w.attempts {
			if a.Status != 400 || w.count(a.MessageID) != 1 {
				continue
			}
			e := &worldEvent{sha: a.SHA256, size: 6}
			e.listed = listedEvent{ID: "refused", Source: "default", MessageID: a.MessageID, EventType: "t",
				OrderingKey: a.OrderingKey, Sequence: &a.Sequence, RequestID: a.RequestID, Size: 6,
				SHA256: a.SHA256, ReceivedAt: a.Sent.Format(time.RFC3339Nano),
				PersistedAt: a.Sent.Format(time.RFC3339Nano)}
			w.stored = append(w.stored, e)
			return true
		}
		return false
	}},
	"swap two of a key": {"order", func(t *rapid.T, w *world) bool {
		for i, a := range w.stored {
			for j := i + 1; j < len(w.stored); j++ {
				if b := w.stored[j]; a.listed.OrderingKey == b.listed.OrderingKey && a.accepted {
					w.stored = slices.Delete(w.stored, i, i+1)
					w.stored = slices.Insert(w.stored, j, a)
					return true
				}
			}
		}
		return false
	}},
	"store two of a key in another order than they are listed": {"order",
		func(t *rapid.T, w *world) bool {
			return w.swapped(func(a, b *worldEvent) {
				if rapid.Bool().Draw(t, "positions") {
					a.listed.Position, b.listed.Position = b.listed.Position, a.listed.Position
					return
				}
				w.persistAt(a, b.sent+4)
			})
		}},
	"list another time of receipt": {"times", func(t *rapid.T, w *world) bool {
		i, ok := w.pick(t, func(e *worldEvent) bool { return e.accepted })
		if ok {
			w.stored[i].listed.ReceivedAt = stamp(w.stored[i].sent - 1 - int64(clockSlack))
		}
		return ok
	}},
	"persist before it is received": {"times", func(t *rapid.T, w *world) bool {
		i, ok := w.pick(t, func(*worldEvent) bool { return true })
		if ok {
			w.stored[i].listed.PersistedAt = stamp(w.stored[i].sent - 1)
		}
		return ok
	}},
	"change a body": {"content", func(t *rapid.T, w *world) bool {
		i, ok := w.pick(t, func(*worldEvent) bool { return true })
		if ok {
			w.stored[i].sha = shaOf("something else")
			if rapid.Bool().Draw(t, "and its digest") {
				w.stored[i].listed.SHA256 = w.stored[i].sha
			}
		}
		return ok
	}},
	"change a sequence": {"content", func(t *rapid.T, w *world) bool {
		i, ok := w.pick(t, func(*worldEvent) bool { return true })
		if ok {
			n := *w.stored[i].listed.Sequence + 1
			w.stored[i].listed.Sequence = &n
		}
		return ok
	}},
	"change a line later": {"changed", func(t *rapid.T, w *world) bool {
		i, ok := w.pick(t, func(*worldEvent) bool { return true })
		if ok {
			w.stored[i].line = " "
		}
		return ok
	}},
	"change a body later": {"changed", func(t *rapid.T, w *world) bool {
		i, ok := w.pick(t, func(*worldEvent) bool { return true })
		if ok {
			w.stored[i].body = "x"
		}
		return ok
	}},
	"call a first a duplicate": {"duplicates", func(t *rapid.T, w *world) bool {
		for i := range w.attempts {
			a := &w.attempts[i]
			if a.Accepted() && !a.Duplicate() && w.count(a.MessageID) == 1 {
				a.Note, a.FirstRequestID = "duplicate_detected", hookgate.NewRequestID(epoch).String()
				return true
			}
		}
		return false
	}},
	"do not call a duplicate one": {"duplicates", func(t *rapid.T, w *world) bool {
		for i := range w.attempts {
			if a := &w.attempts[i]; a.Duplicate() && w.named(a.FirstRequestID) {
				a.Note, a.FirstRequestID = "", ""
				return true
			}
		}
		return false
	}},
	"name another first": {"duplicates", func(t *rapid.T, w *world) bool {
		for i := range w.attempts {
			if a := &w.attempts[i]; a.Duplicate() && w.named(a.FirstRequestID) {
				a.FirstRequestID = a.RequestID
				return true
			}
		}
		return false
	}},
	"lose a trail": {"lineage", func(t *rapid.T, w *world) bool {
		for _, a := range w.attempts {
			if a.Accepted() && !w.spooled(&a) {
				w.trails[a.MessageID] = slices.DeleteFunc(w.trails[a.MessageID],
					func(r requestTrail) bool { return r.RequestID == a.RequestID })
				return true
			}
		}
		return false
	}},
	"lose a stage": {"lineage", func(t *rapid.T, w *world) bool {
		return w.changeTrail(func(r *requestTrail) {
			i := rapid.IntRange(0, 3).Draw(t, "stage")
			r.Stages = slices.Delete(r.Stages, i, i+1)
		})
	}},
	"turn time back": {"lineage", func(t *rapid.T, w *world) bool {
		return w.changeTrail(func(r *requestTrail) {
			r.Stages[2].Timestamp = r.Stages[1].Timestamp.Add(
				-time.Microsecond)
		})
	}},
}

// swapped calls f with two events of a key, of which the first was acknowledged before the second
// was sent, and which differ in both places and times.
func (w *world) swapped(f func(a, b *worldEvent)) bool {
	for _, a := range w.stored {
		for _, b := range w.stored {
			if a.listed.OrderingKey == b.listed.OrderingKey && a.accepted && b.accepted &&
				a.end < b.sent {
				f(a, b)
				return true
			}
		}
	}
	return false
}

// persistAt changes when an event was persisted, in its listing and its trail.
func (w *world) persistAt(e *worldEvent, us int64) {
	e.listed.PersistedAt = stamp(us)
	for _, r := range w.trails[e.listed.MessageID] {
		if r.RequestID == e.listed.RequestID {
			r.Stages[3].Timestamp = at64(us)
		}
	}
}

// spooled reports whether the trail of a request says so. Without the trail its answer would be
// wrong too.
func (w *world) spooled(a *load.Attempt) bool {
	return slices.ContainsFunc(w.trails[a.MessageID], func(r requestTrail) bool {
		return r.RequestID == a.RequestID && len(r.Stages) > 4
	})
}

func (w *world) changeTrail(f func(*requestTrail)) bool {
	for _, a := range w.attempts {
		for i := range w.trails[a.MessageID] {
			if r := &w.trails[a.MessageID][i]; a.Accepted() && r.RequestID == a.RequestID &&
				!w.spooled(&a) {
				f(r)
				return true
			}
		}
	}
	return false
}

// pick draws a stored event that fits.
func (w *world) pick(t *rapid.T, fits func(*worldEvent) bool) (int, bool) {
	var fit []int
	for i, e := range w.stored {
		if fits(e) {
			fit = append(fit, i)
		}
	}
	if fit == nil {
		return 0, false
	}
	return rapid.SampledFrom(fit).Draw(t, "event"), true
}

func (w *world) count(message string) (n int) {
	for _, a := range w.attempts {
		if a.MessageID == message {
			n++
		}
	}
	return n
}

func (w *world) acknowledged(message string) bool {
	return slices.ContainsFunc(w.attempts, func(a load.Attempt) bool {
		return a.MessageID == message &&
			a.Accepted()
	})
}

// named reports whether an accepted request has the id.
func (w *world) named(id string) bool {
	return slices.ContainsFunc(w.attempts, func(a load.Attempt) bool {
		return a.RequestID == id &&
			a.Accepted()
	})
}

// Goal: a correct gate violates no rule, with any requests sent, rejected, lost and repeated.
func TestChecksLetHonestGatesPass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if found := drawWorld(t).check(t); len(found) > 0 {
			t.Fatalf("found %v where nothing is wrong", found)
		}
	})
}

// Goal: a single fault in any world is found by its check, and by no other.
func TestChecksFindOneFault(t *testing.T) {
	for name, fault := range worldFaults {
		t.Run(name, func(t *testing.T) {
			tried := 0
			rapid.Check(t, func(t *rapid.T) {
				w := drawWorld(t)
				if !fault.do(t, w) {
					return // this world does not have what the fault needs
				}
				tried++
				found := w.check(t)
				if found[fault.found] == 0 || len(found) > 1 {
					t.Fatalf("found %v, want %s alone", found, fault.found)
				}
			})
			t.Logf("tried in %d worlds", tried)
			if tried == 0 {
				t.Error("the fault was never tried")
			}
		})
	}
}
