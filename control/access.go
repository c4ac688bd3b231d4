package control

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrExists is the error of creating a token under a name that a token has or had.
var ErrExists = errors.New("exists already")

// Role says what the bearer of a token may do. Each role includes those before it, except that
// RoleViewer does not include RoleConsumer.
type Role string

// The roles.
const (
	// RoleNone is the role of everyone, without a token.
	RoleNone Role = ""
	// RoleConsumer fetches the events of the subscriptions in Token.Subscriptions, and does nothing
	// else. An operator may do that for every subscription.
	RoleConsumer Role = "consumer"
	// RoleViewer reads.
	RoleViewer Role = "viewer"
	// RoleOperator also steers the gate: maintenance, drain, dead letters.
	RoleOperator Role = "operator"
	// RoleAdmin may do everything.
	RoleAdmin Role = "admin"
)

// rank orders the roles other than RoleConsumer; it is negative for an unknown one.
func (r Role) rank() int {
	switch r {
	case RoleNone:
		return 0
	case RoleViewer:
		return 1
	case RoleOperator:
		return 2
	case RoleAdmin:
		return 3
	}
	return -1
}

// Covers reports whether r may do something that needs the role least. An unknown role covers
// nothing, and no role covers it.
func (r Role) Covers(least Role) bool {
	switch {
	case least == RoleConsumer:
		return r == RoleConsumer || r.Covers(RoleOperator)
	case r == RoleConsumer:
		return least == RoleNone
	}
	return least.rank() >= 0 && r.rank() >= least.rank()
}

// ParseRole reads the role of a token.
func ParseRole(s string) (Role, error) {
	switch r := Role(s); r {
	case RoleConsumer, RoleViewer, RoleOperator, RoleAdmin:
		return r, nil
	}
	return RoleNone, fmt.Errorf("unknown role %q: use %s, %s, %s or %s", s, RoleConsumer, RoleViewer,
		RoleOperator, RoleAdmin)
}

// TokenPrefix begins the text of every token, so that scanners for leaked secrets recognise it.
const TokenPrefix = "hgt_"

// Token is a key to the admin and read API. Its text is TokenPrefix and 43 characters for 256
// random bits. The gate shows the text once and stores only its hash. A plain SHA-256 is enough,
// because nobody can guess 256 random bits.
type Token struct {
	// Name is never used for another token, so that the admin trail stays unambiguous.
	Name string
	Role Role
	// Subscriptions are the names of those whose events a RoleConsumer may fetch; empty for any other
	// role.
	Subscriptions []string
	// Hash is the SHA-256 of the text.
	Hash      [sha256.Size]byte
	CreatedAt time.Time
	// CreatedBy is the name of the token that made it.
	CreatedBy string
	// ExpiresAt is when the token stops working, and RevokedAt when a person revoked it; zero if
	// never. Times are in microseconds.
	ExpiresAt, RevokedAt time.Time
}

// NewTokenText returns the text of a new token.
func NewTokenText() string {
	var secret [32]byte
	rand.Read(secret[:]) // never fails: crypto/rand ends the process rather than return an error
	return TokenPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
}

// IsTokenText reports whether s has the form of a token's text.
func IsTokenText(s string) bool {
	secret, ok := strings.CutPrefix(s, TokenPrefix)
	if !ok {
		return false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(secret)
	return err == nil && len(b) == 32 && len(secret) == 43 // the decoder skips line breaks
}

// HashToken returns the hash under which the gate stores and finds a token.
func HashToken(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }
