package deliver

// ring is the queue of the matching events between the cursor and the position, in the order of
// ids. It knows which of them hold the cursor back.
//
//	cursor                                   position
//	  │  open  done  done  open  done  open     │
//	  └──▲─ the cursor stops before the first open one
type ring struct {
	entries []entry
	// first is the number of entries[0]. Entries are numbered in the order of their ids.
	first int64
}

// entry is an event of the ring.
type entry struct {
	id int64
	// done reports that the event no longer holds the cursor back: it is settled, or an exception or
	// a hold covers it.
	done bool
	// open is the item to deliver; nil if done.
	open *item
}

// push adds an event and returns its number. An event without an item is done.
func (q *ring) push(id int64, it *item) (number int64) {
	q.entries = append(q.entries, entry{id: id, done: it == nil, open: it})
	return q.first + int64(len(q.entries)) - 1
}

// done marks an event that no longer holds the cursor back.
func (q *ring) done(number int64) {
	e := &q.entries[number-q.first]
	e.done, e.open = true, nil
}

// trim removes the events before the first open one.
func (q *ring) trim() {
	n := 0
	for n < len(q.entries) && q.entries[n].done {
		n++
	}
	if n == len(q.entries) {
		q.entries = q.entries[:0]
	} else {
		q.entries = q.entries[n:]
	}
	q.first += int64(n)
}

// cursor returns the id up to which everything is done, given the position of the reader.
func (q *ring) cursor(position int64) int64 {
	q.trim()
	if len(q.entries) == 0 {
		return position
	}
	return q.entries[0].id - 1
}

// len returns the number of events from the first open one on.
func (q *ring) len() int {
	q.trim()
	return len(q.entries)
}

// oldest returns the first open item, or nil.
func (q *ring) oldest() *item {
	q.trim()
	if len(q.entries) == 0 {
		return nil
	}
	return q.entries[0].open
}
