package dashboard

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"
)

const (
	// streamTime is how long a stream lasts. The browser then begins another, which renews its
	// session.
	streamTime = 10 * time.Minute
	// renewEvery is how often a stream checks that its visitor's token is still valid.
	renewEvery = 15 * time.Second
	// writeTime is how long a browser may take to read an event before its stream ends.
	writeTime = 10 * time.Second
	// behind is how many samples a browser may be behind before its stream ends.
	behind = 4
)

// subscribe returns a channel that gets each state as JSON. It is closed if its reader is too slow.
// ok is false if there are too many.
func (l *Live) subscribe() (states chan []byte, history, now []byte, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.streams) >= l.config.MaxStreams {
		return nil, nil, nil, false
	}
	states = make(chan []byte, behind)
	l.streams[states] = true
	points := make([][]any, len(l.ring))
	for i := range l.ring {
		points[i] = l.ring[i].point()
	}
	history, err := json.Marshal(points)
	if err != nil {
		panic(err) // they are numbers
	}
	return states, history, l.encode(), true
}

func (l *Live) unsubscribe(states chan []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.streams, states)
}

// tell sends a state to everybody who watches; mu must be held.
func (l *Live) tell(state []byte) {
	for states := range l.streams {
		select {
		case states <- state:
		default:
			close(states)
			delete(l.streams, states)
		}
	}
}

// Stream sends server-sent events until the request's context ends: first "history", the samples of
// the last minutes, and "state"; then "state" each second. "over" means that the visitor must sign
// in again.
func (d *Dashboard) Stream(w http.ResponseWriter, r *http.Request, v *Visitor) {
	states, history, now, ok := d.config.Live.subscribe()
	h := w.Header()
	secure(h)
	h.Set("Cache-Control", "no-store")
	if !ok {
		h.Set("Retry-After", "30")
		http.Error(w, "too many browsers are shown live numbers",
			http.StatusServiceUnavailable)
		return
	}
	defer d.config.Live.unsubscribe(states)
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy must not hold it back
	control := http.NewResponseController(w)
	send := func(event string, data []byte) bool {
		var b bytes.Buffer
		b.WriteString("event: " + event + "\ndata: ")
		b.Write(data)
		b.WriteString("\n\n")
		control.SetWriteDeadline(time.Now().Add(writeTime))
		if _, err := w.Write(b.Bytes()); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead || !send("history", history) || !send("state", now) {
		return
	}
	end := time.NewTimer(streamTime)
	defer end.Stop()
	renew := time.NewTicker(renewEvery)
	defer renew.Stop()
	for {
		select {
		case state, open := <-states:
			if !open || !send("state", state) {
				return
			}
		case <-renew.C:
			if !v.Renew(r.Context()) {
				send("over", []byte("{}"))
				return
			}
		case <-end.C:
			return
		case <-r.Context().Done():
			return
		}
	}
}
