// Package load is a sender as seen from outside the gate: it generates events, replays them on
// a schedule, and keeps a ledger of every attempt for those who audit the gate afterwards.
//
// It speaks HTTP and imports no package of the server, so that what it reports cannot lean on
// what the server believes.
//
//	          lines            chains                    senders
//	input ─► parse, sign ─► pace: wait for due ─► one in flight a key ─► POST ─► ledger, tally
//	                                                   ▲                  │
//	                                                   └── back-off ◄─────┘ 429, 503, loss
package load

import "fmt"

// LineError says which line of an input or a ledger cannot be used. Everything before that line
// has been dealt with; nothing of the line itself has.
type LineError struct {
	// Line counts from 1, blank lines included.
	Line int
	// Err says what is wrong with it.
	Err error
}

// Error names the line and the reason.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the reason.
func (e *LineError) Unwrap() error { return e.Err }
