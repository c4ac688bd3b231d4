// Package attention lists what a person should look at although the gate goes on taking webhooks:
// dead letters that are open, a source that refuses most of its requests, an audit chain that is
// broken.
//
// /api/health and the dashboard's headline show the list. Readiness never depends on it.
package attention

import (
	"context"
	"sync"
)

// Item is one thing that a person should look at.
type Item struct {
	// Name is the kind, for programs: lower case, with underscores. It never changes.
	Name string `json:"name"`
	// What distinguishes two items of one kind, such as the name of a source; it is empty if there is
	// at most one.
	What string `json:"what,omitempty"`
	// Count is how many there are, of whatever Text says.
	Count int64 `json:"count"`
	// Text is one sentence for people, with the count in it and without a full stop. Everyone may read
	// it, so that it holds no paths and no causes.
	Text string `json:"text"`
	// Link is where to look: a path of this gate. Empty if there is no such page.
	Link string `json:"link,omitempty"`
}

// Source returns the items of one kind, none if all is well. It must return within a moment,
// because the health waits for it. It may be called concurrently.
type Source func(context.Context) []Item

// List is the sources of a gate. The zero List is empty; a nil one is too. All methods may be
// called concurrently.
type List struct {
	mu      sync.Mutex // guards sources
	sources []Source
}

// Add adds a source. Items are listed in the order in which their sources were added.
func (l *List) Add(s Source) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sources = append(l.sources, s)
}

// Items returns what a person should look at now; empty and not nil if there is nothing.
func (l *List) Items(ctx context.Context) []Item {
	items := []Item{}
	if l == nil {
		return items
	}
	l.mu.Lock()
	sources := l.sources
	l.mu.Unlock()
	for _, s := range sources {
		items = append(items, s(ctx)...)
	}
	return items
}

// many returns the words for n of something.
func many(n int64, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}
