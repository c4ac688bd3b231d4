// Package load is a sender, as seen from outside the gate. It generates events, sends them on a
// schedule, and keeps a ledger of every attempt, with which certify audits the gate afterwards.
//
// It speaks HTTP and imports no package of the server, so its report does not depend on the
// server's code.
//
//	          lines            chains                    senders
//	input ─► parse, sign ─► pace: wait for due ─► one in flight a key ─► POST ─► ledger, tally
//	                                                   ▲                  │
//	                                                   └── back-off ◄─────┘ 429, 503, no answer
package load

import "fmt"

// LineError says which line of an input or a ledger cannot be used. All lines before it were
// processed, and nothing of the line itself.
type LineError struct {
	// Line counts from 1, including blank lines.
	Line int
	// Err is the reason.
	Err error
}

// Error names the line and the reason.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the reason.
func (e *LineError) Unwrap() error { return e.Err }
