package sqlstore

import "sync"

// Growth wakes readers that wait for events. All methods may be called concurrently.
type Growth struct {
	mu   sync.Mutex
	next chan struct{} // nil if nobody waits
}

// Next returns a channel that the next Wake closes.
func (g *Growth) Next() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next == nil {
		g.next = make(chan struct{})
	}
	return g.next
}

// Wake wakes all that wait.
func (g *Growth) Wake() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next != nil {
		close(g.next)
		g.next = nil
	}
}
