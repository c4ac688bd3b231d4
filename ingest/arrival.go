package ingest

import (
	"net/http"
	"sync"
	"time"

	"github.com/hookgate/hookgate/internal/arrivals"
)

// arrival is the arrival of a body that is longer than its first buffer and whose sender has not
// authenticated itself. A nil arrival does nothing.
type arrival struct {
	arrivals.Arrival
	all    *arrivals.Slowest
	writer http.ResponseWriter

	mu        sync.Mutex // guards what follows
	over, cut bool
}

func newArrival(all *arrivals.Slowest, w http.ResponseWriter) *arrival {
	a := &arrival{all: all, writer: w}
	a.Began = time.Now()
	a.Stop = a.stop
	all.Add(&a.Arrival)
	return a
}

// stop makes the next Read of the body fail. It does nothing once the body is complete, because
// the connection then belongs to the next request.
func (a *arrival) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over {
		a.cut = http.NewResponseController(a.writer).SetReadDeadline(time.Unix(1, 0)) == nil
	}
}

func (a *arrival) received(n int) {
	if a != nil {
		a.Bytes.Store(int64(n))
	}
}

func (a *arrival) wasCut() bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cut
}

func (a *arrival) end() {
	if a == nil {
		return
	}
	a.all.Remove(&a.Arrival)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
}
