package hookgate

import "time"

// Cutoffs say what of a store is old enough to be removed. Age counts from the commit that stored
// it (webhook_batches.persisted_at).
type Cutoffs struct {
	// Events: of what was stored before this the body is removed, while its lineage stays. Zero: none.
	Events time.Time
	// Trail: of what was stored before this the lineage is removed too, link by link of the audit
	// chain. Zero: none; never after Events.
	Trail time.Time
}

// Pruned says what one step of retention removed.
type Pruned struct {
	// Events lost their bodies, and Bytes were in these.
	Events, Bytes int64
	// Links left the chains of earlier releases and Entries the log, and with them the lineage of
	// Requests.
	Links, Entries, Requests int64
	// More says that the step ended at its limit and not at what is too young.
	More bool
	// Busy says that another process removes what is old; this one has looked at nothing.
	Busy bool
	// OldestEvent is when the oldest event that is left was stored; zero if there is none, or if the
	// step did not get there.
	OldestEvent time.Time
}
