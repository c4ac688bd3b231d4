package simulation

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// event is what a sender sends, in one request or in several.
type event struct {
	hookgate.Identity
	key   string
	keyed bool
	// after is the last event of the key that was acknowledged before this one was sent; nil if there
	// is none.
	after    *event
	requests map[hookgate.RequestID]*request
	acked    bool
	// id is that of the stored event; 0 before it is stored. dead reports a dead letter.
	id   int64
	dead bool
}

// request is one request with an event.
type request struct {
	body  string
	acked bool
}

// senders are all that was sent.
type senders struct {
	events   map[hookgate.Identity]*event
	requests int
	working  int
	byID     map[int64]*event // the stored ones
	stored   []*event         // in the order of the log
}

// sender sends the events of one key, one after the other.
type sender struct {
	w     *world
	rng   *rand.Rand
	key   string
	keyed bool
	home  string // the process to which it sends; empty: any
	n     int
	acked *event
	sent  []*event
}

// run sends until the world is calm.
func (s *sender) run() {
	defer func() {
		s.w.mu.Lock()
		defer s.w.mu.Unlock()
		s.w.senders.working--
	}()
	for range s.w.perSender {
		if !s.sleep(s.w.pace) {
			return
		}
		if s.rng.IntN(8) == 0 && len(s.sent) > 0 { // again
			s.send(s.sent[s.rng.IntN(len(s.sent))])
			continue
		}
		e := s.next()
		for tries := 0; !s.send(e); tries++ {
			if !s.w.calm.Load() && s.rng.IntN(12) == 0 {
				break // gives up
			}
			if tries > 1000 || !s.sleep(300*time.Millisecond) {
				return
			}
		}
	}
}

func (s *sender) sleep(most time.Duration) bool {
	time.Sleep(time.Duration(1 + s.rng.Int64N(int64(most))))
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return !s.w.over
}

// next makes the next event of the key.
func (s *sender) next() *event {
	s.n++
	e := &event{key: s.key, keyed: s.keyed, after: s.acked,
		requests: map[hookgate.RequestID]*request{},
		Identity: hookgate.Identity{Source: "s", EventType: s.w.types[s.rng.IntN(len(s.w.types))],
			MessageID: fmt.Sprint(s.key, "-", s.n)}}
	if s.w.poison && s.rng.IntN(25) == 0 {
		e.MessageID += "-poison"
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.senders.events[e.Identity] = e
	s.sent = append(s.sent, e)
	return e
}

// send sends a request with an event. It reports whether the request was acknowledged.
func (s *sender) send(e *event) bool {
	w := s.w
	if !w.turn("sender sends " + e.MessageID) {
		return true
	}
	p := w.processOf(s.home, s.rng)
	if p == nil {
		return false
	}
	now := time.Now().Truncate(time.Microsecond)
	r := &hookgate.Request{RequestID: w.newRequestID(now), Identity: e.Identity,
		OrderingKey: e.key, Keyed: e.keyed, Sequence: hookgate.NoSequence, ReceivedAt: now,
		Body: make([]byte, s.rng.IntN(40))}
	for i := range r.Body {
		r.Body[i] = byte(s.rng.IntN(256))
	}
	req := &request{body: string(r.Body)}
	id := r.RequestID
	w.mu.Lock()
	e.requests[id] = req
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	receipt, err := p.append(ctx, r)
	for i := range r.Body { // it is the sender's again
		r.Body[i] = '!'
	}
	r.OrderingKey = "overwritten"
	if err != nil {
		return false
	}
	w.acknowledged(p, e, id, receipt)
	s.acked = e
	return true
}

// newRequestID returns a request id that depends on the world alone.
func (w *world) newRequestID(at time.Time) hookgate.RequestID {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.senders.requests++
	id := hookgate.FirstRequestID(at)
	binary.BigEndian.PutUint32(id[9:], uint32(w.senders.requests))
	return id
}

// processOf returns a process by name, or any one.
func (w *world) processOf(home string, rng *rand.Rand) *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	if home == "" {
		home = w.hosts[rng.IntN(len(w.hosts))]
	}
	if p := w.processes[home]; p != nil && !p.gone {
		return p
	}
	return nil
}

// acknowledged checks what a sender was promised.
func (w *world) acknowledged(p *process, e *event, id hookgate.RequestID,
	receipt hookgate.Receipt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.acked, e.requests[id].acked = true, true
	kept := w.store.requestOf(e.Identity)
	of := receipt.DuplicateOf
	entry, found := w.store.entryOf(id)
	switch {
	case of.IsZero():
	case e.requests[of] == nil:
		w.violateLocked("duplicates name the first request", "the repetition of %s names a request that"+
			" was not sent with it", e.MessageID)
	case !kept.IsZero() && of != kept && w.buffer == nil && !w.spools:
		w.violateLocked("duplicates name the first request", "the repetition of %s names request %s, and"+
			" %s is stored", e.MessageID, of, kept)
	}
	if w.buffer == nil && !w.spools && found && of != entry.DuplicateOf {
		w.violateLocked("duplicates name the first request", "the answer to a request of %s names %v,"+
			" and the store %v", e.MessageID, of, entry.DuplicateOf)
	}
	w.mustKeep(p.name, e, id)
}

// mustKeep checks that an acknowledged request is somewhere.
func (w *world) mustKeep(host string, e *event, id hookgate.RequestID) {
	if _, found := w.store.entryOf(id); found || w.buffer != nil && w.buffer.has(id) {
		return
	}
	for name, file := range w.files {
		if (host == "" || host == name) && file.has(id) {
			return
		}
	}
	w.violateLocked("a 202 is durable", "a request of %s is acknowledged and nowhere", e.MessageID)
}

// checkDurable checks that all acknowledged requests are somewhere.
func (w *world) checkDurable() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.senders.events {
		for id, r := range e.requests {
			if r.acked {
				w.mustKeep("", e, id)
			}
		}
	}
}

// applied notes what a batch has stored, and checks it.
func (w *world) applied(b *hookgate.Batch, o *hookgate.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for partition, epoch := range b.Epochs {
		if epoch != w.epochs[partition] {
			w.violateLocked("old owners are fenced", "epoch %d of partition %d stores %s after epoch %d"+
				" has begun", epoch, partition, names(b), w.epochs[partition])
		}
	}
	for i := range b.Records {
		r := &b.Records[i]
		e := w.senders.events[r.Identity]
		if e == nil || e.requests[r.RequestID] == nil || r.OrderingKey != e.key {
			w.violateLocked("the bytes are kept", "%s of key %s is stored, and was never sent",
				r.MessageID, r.OrderingKey)
			continue
		}
		entry, found := w.store.entryOf(r.RequestID)
		if !found {
			w.violateLocked("every request has its lineage", "a request of %s has left no trail",
				r.MessageID)
			continue
		}
		switch entry.stage {
		case hookgate.StageDeadLettered:
			e.dead = true
			continue
		case hookgate.StageDuplicate:
			continue
		}
		if e.id == entry.ID {
			continue
		}
		if e.id != 0 {
			w.violateLocked("acknowledged events are stored once", "%s is stored as %d and as %d",
				e.MessageID, e.id, entry.ID)
		}
		if string(r.Body) != e.requests[r.RequestID].body {
			w.violateLocked("the bytes are kept", "the body of %s is stored as %q, and was sent as %q",
				e.MessageID, r.Body, e.requests[r.RequestID].body)
		}
		e.id = entry.ID
		w.senders.byID[e.id] = e
		w.senders.stored = append(w.senders.stored, e)
		if before := e.after; before != nil && before.id == 0 && !before.dead {
			for id, r := range before.requests {
				if r.acked {
					w.mustKeep("", before, id) // it may be lost, and not only late
				}
			}
			w.violateLocked("events are stored in order", "%s is stored before %s, which was acknowledged"+
				" before it was sent", e.MessageID, before.MessageID)
		}
	}
	if o.Stored > 0 {
		for _, name := range w.hosts {
			if p := w.processes[name]; p != nil {
				p.pushes.markGrown()
				p.pulls.markGrown()
			}
		}
	}
}

// name returns a name for an id of the log.
func (w *world) name(id int64) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nameLocked(id)
}

func (w *world) nameLocked(id int64) string {
	if e := w.senders.byID[id]; e != nil {
		return e.MessageID
	}
	if n := len(w.senders.stored); n > 0 && id >= w.senders.stored[n-1].id {
		return "the end"
	}
	return fmt.Sprint(time.UnixMicro(id).Sub(w.began))
}

func (w *world) namesOf(ids []int64) string {
	var all []string
	for _, id := range ids {
		all = append(all, w.name(id))
	}
	slices.Sort(all)
	return fmt.Sprint(all)
}
