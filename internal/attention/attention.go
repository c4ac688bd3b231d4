// Package attention lists problems that need a person although the gate takes webhooks. Examples
// are open dead letters, a source that rejects most requests, a broken audit chain, and a wrong
// clock.
//
// /api/health and the dashboard show the list. Readiness never depends on it.
package attention

import (
	"context"
	"sync"
	"time"
)

// Item is one problem.
type Item struct {
	// Name is the kind of problem, for programs: lower case, with underscores. It never changes.
	Name string `json:"name"`
	// The name of the subject, such as a source, if there can be several items of one kind; else
	// empty.
	What string `json:"what,omitempty"`
	// Count is the number in Text.
	Count int64 `json:"count"`
	// Text is one sentence for people, with the count and without a full stop. Anyone can read it, so
	// it has no paths and no errors.
	Text string `json:"text"`
	// Link is the path of a page of this gate with details; empty if there is none.
	Link string `json:"link,omitempty"`
	// Since is when it began; nil if that is not known.
	Since *time.Time `json:"since,omitempty"`
	// Bad marks a problem that must not wait.
	Bad bool `json:"-"`
}

// Source returns the items of one kind, or none. It must return quickly, because the health waits
// for it. It may be called concurrently.
type Source func(context.Context) []Item

// List is a list of sources. The zero List and a nil List are empty. All methods may be called
// concurrently.
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

// Items returns the current items. Without any it returns an empty slice that is not nil.
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

// many returns the singular or the plural for n.
func many(n int64, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}
