package certify

import (
	"sync"
	"time"
)

// lagMeter measures how late this process runs: by how much a short sleep lasts too long.
type lagMeter struct {
	mu    sync.Mutex // guards worst
	worst time.Duration
	end   chan struct{}
	done  sync.WaitGroup
}

const lagEvery = 20 * time.Millisecond

func newLagMeter() *lagMeter {
	m := &lagMeter{end: make(chan struct{})}
	m.done.Go(func() {
		for {
			began := time.Now()
			select {
			case <-m.end:
				return
			case <-time.After(lagEvery):
			}
			m.mu.Lock()
			m.worst = max(m.worst, time.Since(began)-lagEvery)
			m.mu.Unlock()
		}
	})
	return m
}

// take returns the greatest lag since the last call.
func (m *lagMeter) take() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	worst := m.worst
	m.worst = 0
	return worst
}

func (m *lagMeter) stop() {
	close(m.end)
	m.done.Wait()
}
