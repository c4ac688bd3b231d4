package metrics

import (
	"reflect"
	"testing"
	"time"
)

// TestSnapshot: a snapshot has the same counts as a scrape.
func TestSnapshot(t *testing.T) {
	c := well()
	c.Holdings = func() Holdings { return Holdings{Owners: []int{1, 0, 2}} }
	m := New(c)
	shop := m.Source("shop")
	if got := m.Snapshot(); !reflect.DeepEqual(got, Snapshot{Answers: []Answered{{"shop", 202, 0}},
		Refused: map[string]int64{}, Owners: []int{1, 0, 2}}) {
		t.Errorf("at the start: %+v", got)
	}
	shop.Count(202)
	shop.Count(202)
	shop.Count(401)
	m.Refused("", 401)
	for i := range MaxEventTypes + 5 { // the last ones are "other"
		m.Accepted(string(rune('a'+i)), true)
	}
	m.DeadLettered("a", time.Millisecond)
	m.Batch(10, 2*time.Millisecond)
	m.Batch(20, 3*time.Millisecond)
	m.ApplyFailed()
	m.Workers(2)
	got := m.Snapshot()
	counts := map[int]int64{}
	for _, a := range got.Answers {
		counts[a.Status] += a.Count
	}
	if !reflect.DeepEqual(counts, map[int]int64{202: 2, 401: 1}) ||
		!reflect.DeepEqual(got.Refused, map[string]int64{"unauthenticated": 1}) {
		t.Errorf("answers %v, refused %v", counts, got.Refused)
	}
	if got.Duplicates != MaxEventTypes+5 || got.DeadLettered != 1 || got.Batches != 2 ||
		got.Records != 30 || got.BatchMillis != 5 || got.BatchFailures != 1 || got.Workers != 2 {
		t.Errorf("counted %+v", got)
	}
}

// BenchmarkSnapshot measures a sample of the dashboard, taken once a second, with many sources and
// event types.
func BenchmarkSnapshot(b *testing.B) {
	m := New(well())
	for i := range 20 {
		s := m.Source(string(rune('a' + i)))
		for _, status := range []int{202, 400, 401, 413, 429, 503} {
			s.Count(status)
		}
	}
	for i := range MaxEventTypes {
		m.Accepted(string(rune('a'+i)), true)
	}
	for b.Loop() {
		m.Snapshot()
	}
}
