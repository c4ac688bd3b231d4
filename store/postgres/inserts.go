package postgres

import (
	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/entry"
)

// From copyEvents events on, COPY is faster than one INSERT, although it takes two more round
// trips. PostgreSQL parses its rows at less cost and writes a whole page at a time.
const copyEvents = 48

// clear starts empty rows for the items from one index to another.
func (a *application) clear(from, to int) {
	a.events, a.requests, a.letters, a.wholes = newRows(len(eventColumns)),
		newRows(len(requestColumns)), newRows(5),
		newRows(4)
	if to-from < copyEvents {
		return
	}
	const most = 700 // the approximate size of an event without its body, in bytes
	size := 0
	for i := range a.items[from:to] {
		size += most + len(a.items[from+i].Body)
	}
	a.events = newStream(len(eventColumns), size)
}

// batchIdentity is what an item shares with its repetitions in the batch.
func batchIdentity(it *entry.Item) hookgate.Identity {
	if it.TypeUnproven {
		return anyType(it.Identity)
	}
	return it.Identity
}

// anyType removes the event type, so that all identities that differ only in their type become
// equal. Every event has a type.
func anyType(id hookgate.Identity) hookgate.Identity {
	id.EventType = ""
	return id
}

// place gives the entry the next id and makes it the last entry of the log.
func (a *application) place(it *entry.Item) {
	a.log.anchor(a.persistedAt)
	id := a.log.nextID(a.log.lastID, a.persistedAt)
	if a.firstID == 0 {
		a.firstID = id
	}
	it.Place(id, a.firstID, a.persistedAt)
	it.Hash = a.log.sum.Entry(a.log.hash, &it.Entry)
	a.log.lastID, a.log.hash = id, it.Hash
	a.outcome.Of(it).ID = id
}

var (
	eventColumns   = entry.ColumnsOf(entry.Events)
	requestColumns = entry.ColumnsOf(entry.Requests)
)

func (a *application) addEvent(it *entry.Item) {
	a.place(it)
	eventColumns.Write(&a.events, it)
	a.addWhole(it.Record.Whole)
	h := entry.Holder{ID: it.ID, Request: it.RequestID, Identity: it.Identity}
	a.first[it.Identity] = h
	if _, found := a.first[anyType(it.Identity)]; !found {
		a.first[anyType(it.Identity)] = h
	}
	a.log.events++
	a.outcome.Stored++
}

// addRequest adds a duplicate or a dead letter, unless its request is already stored.
func (a *application) addRequest(n int) {
	it := &a.items[n]
	result := a.outcome.Of(it)
	if it.Outcome == hookgate.StageDuplicate {
		result.DuplicateOf = it.FirstRequestID
	}
	id, found := a.stored[int64(n)]
	if !found {
		id, found = a.added[it.RequestID]
	}
	if found {
		result.ID = id
		return
	}
	a.place(it)
	a.added[it.RequestID] = it.ID
	requestColumns.Write(&a.requests, it)
	if it.Outcome == hookgate.StageDuplicate {
		a.log.duplicates++
		return
	}
	a.log.deadLetters++
	r := &a.letters
	r.Int(it.ID)
	r.Text(it.RequestID.String())
	r.Bytes(it.Body)
	r.Text(it.Reason)
	r.Int(a.persistedAt.UnixMicro())
	a.addWhole(it.Record.Whole)
}

// addWhole adds the body of the request that an event was part of. The chain covers the body by a
// digest in the event's origin header.
func (a *application) addWhole(w *hookgate.Whole) {
	if w == nil || w == a.whole {
		return
	}
	a.whole = w
	r := &a.wholes
	r.Text(w.RequestID.String())
	r.Bytes(w.Body)
	r.Bytes(w.SHA256[:])
	r.Int(a.persistedAt.UnixMicro())
}

// inserts returns the statements that write the rows, one for each table.
func (a *application) inserts() (writes []statement) {
	for _, t := range []struct {
		rows           *rows
		table, columns string
	}{
		{&a.events, "webhook_events", eventColumns.Names("")},
		{&a.requests, "webhook_requests", requestColumns.Names("")},
		{&a.letters, "webhook_dead_letters", "id, request_id, payload, reason, dead_lettered_at"},
	} {
		if t.rows.len() > 0 {
			writes = append(writes, t.rows.insert(t.table, t.columns))
		}
	}
	if a.wholes.len() > 0 {
		// Another event of the request may have stored its body.
		whole := a.wholes.insert("webhook_request_bodies", "request_id, payload, sha256, stored_at")
		whole.sql += " ON CONFLICT (request_id) DO NOTHING"
		writes = append(writes, whole)
	}
	if a.events.len() > 0 && a.notify.sql != "" {
		writes = append(writes, a.notify)
	}
	return writes
}
