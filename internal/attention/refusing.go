package attention

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hookgate/hookgate/internal/metrics"
)

const (
	// refusingFor is the time span whose answers are judged, sampleEvery the time between samples.
	refusingFor = 5 * time.Minute
	sampleEvery = 10 * time.Second
	// fewest is the least number of requests in that span for a judgement.
	fewest = 10
)

// Refusing watches for sources of this process that reject most requests.
type Refusing struct {
	answers func() []metrics.Answered

	mu      sync.Mutex           // guards all below
	samples []sample             // of the last refusingFor, the oldest first
	began   map[string]time.Time // when each source that refuses now was first found to do so
}

// sample has the answers since the start of the process, by source.
type sample map[string]answered

type answered struct{ all, refused int64 }

// NewRefusing returns a Refusing over a function that returns the answers since the start of the
// process.
func NewRefusing(answers func() []metrics.Answered) *Refusing {
	r := &Refusing{answers: answers, began: map[string]time.Time{}}
	r.take()
	return r
}

// Run takes samples until ctx ends.
func (r *Refusing) Run(ctx context.Context) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.take()
		case <-ctx.Done():
			return
		}
	}
}

func (r *Refusing) take() {
	now := r.count()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.samples = append(r.samples, now); len(r.samples) > int(refusingFor/sampleEvery) {
		r.samples = slices.Delete(r.samples, 0, 1)
	}
	for source, n := range now {
		if !refuses(n, r.samples[0][source]) {
			delete(r.began, source)
		} else if r.began[source].IsZero() {
			r.began[source] = time.Now()
		}
	}
}

// refuses reports whether a source refused more than half of its requests between two counts.
func refuses(now, before answered) bool {
	all, refused := now.all-before.all, now.refused-before.refused
	return all >= fewest && 2*refused > all
}

func (r *Refusing) count() sample {
	s := sample{}
	for _, a := range r.answers() {
		n := s[a.Source]
		n.all += a.Count
		if a.Status >= 400 {
			n.refused += a.Count
		}
		s[a.Source] = n
	}
	return s
}

// Items is a Source: one item for each source that rejected more than half of its requests in the
// last five minutes.
func (r *Refusing) Items(context.Context) (items []Item) {
	now := r.count()
	r.mu.Lock()
	before, began := r.samples[0], maps.Clone(r.began)
	r.mu.Unlock()
	for _, source := range slices.Sorted(maps.Keys(now)) {
		if !refuses(now[source], before[source]) {
			continue
		}
		all, refused := now[source].all-before[source].all, now[source].refused-before[source].refused
		items = append(items, Item{
			Name: "source_refuses", What: source, Count: refused,
			Text: fmt.Sprintf("Source %s rejected %d of %d requests in the last %.0f minutes", source,
				refused, all, refusingFor.Minutes()),
			Link: "/ui/refused?source=" + source, Since: sinceOf(began[source]),
		})
	}
	return items
}

// sinceOf returns a time for Item.Since.
func sinceOf(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}
