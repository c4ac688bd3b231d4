package control

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/hookgate/hookgate"
)

// AdminAction is a row of the admin trail. Each change over the admin API writes two rows with the
// same RequestID: one before the change, whose Result is ResultBegun, and one with the result. If
// the second is missing, the process ended in between or could not write it.
//
// The rows are a chain, like the links of the audit chain (see audit.Link): the hash of each row
// covers the hash of the row before. It is the SHA-256 of these bytes, encoded as in a link:
//
//	"hookgate admin action 1\n"
//	hash of the row before (32 bytes; zero for the first)
//	sequence, at (integers)
//	request id (16 bytes)
//	actor, role, remote address, action, target, reason, result (text)
type AdminAction struct {
	// Sequence numbers the rows from 1. The store sets it and the hashes.
	Sequence       int64
	Previous, Hash [sha256.Size]byte

	At        time.Time
	RequestID hookgate.RequestID
	// Actor is the name of the token that was used, and Role its role.
	Actor string
	Role  Role
	// RemoteAddr is the address of the peer, host:port.
	RemoteAddr string
	// Action is the action, such as "maintenance", and Target its object: a mode, an id, a filter.
	Action, Target string
	// Reason is the reason that the caller gave; it may be empty.
	Reason string
	// Result is ResultBegun, or begins with ResultDone or ResultFailed and may continue with a colon
	// and details.
	Result string
}

// ActionFilter selects rows of the admin trail. Zero fields select everything.
type ActionFilter struct {
	Actor, Action string
	// From (inclusive) and To (exclusive) select by the time of the row.
	From, To time.Time
	// Newest is the order from the last row to the first. The zero value is the other one.
	Newest bool
	// After is the number of the row to continue after, in the order asked for; 0: the beginning.
	After int64
	// Limit bounds the number of rows. It must be above 0.
	Limit int
}

// The results of admin actions.
const (
	ResultBegun  = "begun"
	ResultDone   = "done"
	ResultFailed = "failed"
)

// ChainHash computes the hash of the row from its other fields.
func (a *AdminAction) ChainHash() [sha256.Size]byte {
	b := append(make([]byte, 0, 512), "hookgate admin action 1\n"...)
	b = append(b, a.Previous[:]...)
	b = appendInt(b, a.Sequence)
	b = appendInt(b, a.At.UnixMicro())
	b = append(b, a.RequestID[:]...)
	for _, text := range [...]string{a.Actor, string(a.Role), a.RemoteAddr, a.Action, a.Target,
		a.Reason, a.Result} {
		b = appendText(b, text)
	}
	return sha256.Sum256(b)
}

func appendInt(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

func appendText(b []byte, s string) []byte { return append(appendInt(b, int64(len(s))), s...) }
