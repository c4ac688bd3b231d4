package hookgate

import "time"

// EventSearch asks a Reader for a page of events, newest first. What newest means follows from the
// filter, so that an index serves it:
//
//	MessageID       in the order of a digest of the identity
//	EventType       last received first
//	From or To      by request id, downwards: last received first, and a replay when it was started
//	anything else   last stored first
//
// No index serves MessageIDPrefix.
//
// A time is looked for among request ids, which NewRequestID begins with the time of receipt;
// replays, whose ids are younger, are found too.
type EventSearch struct {
	// EventFilter selects; its After is ignored. Its Limit is the length of the page, at least 1.
	EventFilter
	// Stored makes it last stored first in any case: what is searched again behind a Cursor has then
	// been stored since.
	Stored bool
	// Cursor is what a page of the same search said as its Older or Newer: where this one begins.
	// Empty: at the newest. In the order stored an event's ID will do too; the event need not be
	// stored any more.
	Cursor string
	// Newer asks for what is on the other side of Cursor: for the next newer events. They still come
	// newest first.
	Newer bool
	// Patience is the time after which the search is broken off although the page is not full. One
	// read is finished then, so that it takes a little longer; a search that an index serves does not
	// get there. 0 means no end.
	Patience time.Duration
}

// EventPage is what a search has found.
type EventPage struct {
	// Events are newest first.
	Events []Event
	// Older is where to go on to older events, empty if there are no more.
	Older string
	// Newer is where to go on to newer events, at any time. It is empty only if no event at all is of
	// the type, or has the id, that is searched.
	Newer string
	// Partial says that Patience ended before the page was full: there may be more behind Older, or
	// Newer if that was asked for.
	Partial bool
	// SearchedTo is when the last event was received that a partial search has looked at; zero if it
	// is of one MessageID.
	SearchedTo time.Time
}
