package api

import "time"

// Audit is the result of a verification of the audit chains.
type Audit struct {
	// OK is true if the chains hold. Head then stands for everything that is stored; otherwise Break
	// is the first place where the store differs from its chain.
	OK         bool  `json:"ok"`
	Links      int64 `json:"links"`   // of the chains of earlier versions
	Entries    int64 `json:"entries"` // of the log
	Events     int64 `json:"events"`
	Duplicates int64 `json:"duplicates"`
	// DeadLetters counts all dead letters, Purged those of them whose body a person has removed.
	DeadLetters int64         `json:"deadLetters"`
	Purged      int64         `json:"purged"`
	Actions     int64         `json:"actions"`
	Removed     *AuditRemoved `json:"removed,omitempty"`
	Head        string        `json:"head,omitempty"` // SHA-256, hexadecimal
	Break       *AuditBreak   `json:"break,omitempty"`
}

// AuditRemoved counts what retention has removed, and the bodies that were removed from events that
// are still stored.
type AuditRemoved struct {
	Links       int64 `json:"links"`
	Entries     int64 `json:"entries"`
	Events      int64 `json:"events"`
	Duplicates  int64 `json:"duplicates"`
	DeadLetters int64 `json:"deadLetters"`
	Bodies      int64 `json:"bodies"`
	// Until and BodiesUntil are when the youngest of them was stored; null if there is none.
	Until       *time.Time `json:"until"`
	BodiesUntil *time.Time `json:"bodiesUntil"`
	// Tests counts the events of test traffic whose body was removed before retention removed them.
	Tests int64 `json:"tests,omitempty"`
}

// AuditBreak is the first place where the store differs from its chain.
type AuditBreak struct {
	Partition int    `json:"partition"`
	Link      int64  `json:"link"`
	Batch     int64  `json:"batch"`
	What      string `json:"what"`
}

// Receipt describes a bundle of evidence that a gate keeps.
type Receipt struct {
	// ID is the SHA-256 of the manifest, in hexadecimal.
	ID          string    `json:"id"`
	Application string    `json:"application"`
	Gate        string    `json:"gate"`
	Timestamp   time.Time `json:"timestamp"`
	ReceivedAt  time.Time `json:"receivedAt"`
	// Key is the fingerprint of the key that signed the bundle. KeyKnown is true if the key is one of
	// evidence.public_keys.
	Key      string `json:"key"`
	KeyKnown bool   `json:"keyKnown"`
	// Verdict is the status in the bundle's verdict.json.
	Verdict string `json:"verdict"`
	Files   int    `json:"files"`
}

// Receipts is the answer of GET /api/intake.
type Receipts struct {
	Evidence []Receipt `json:"evidence"`
}
