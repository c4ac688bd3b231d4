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

// ErrExists is returned when a token is to be made under a name that one has, or has had.
var ErrExists = errors.New("exists already")

// Role says what the bearer of a token may do. Each role may do what those before it may.
type Role string

// The roles.
const (
	// RoleNone is that of everyone: what needs no more is open.
	RoleNone Role = ""
	// RoleViewer reads.
	RoleViewer Role = "viewer"
	// RoleOperator also steers the gate: maintenance, drain, dead letters.
	RoleOperator Role = "operator"
	// RoleAdmin may do everything.
	RoleAdmin Role = "admin"
)

// rank orders the roles; it is negative for what is none.
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

// Covers reports whether r may do what takes at least the role least. An unknown role covers
// nothing, and nothing covers it.
func (r Role) Covers(least Role) bool { return least.rank() >= 0 && r.rank() >= least.rank() }

// ParseRole reads the role of a token.
func ParseRole(s string) (Role, error) {
	switch r := Role(s); r {
	case RoleViewer, RoleOperator, RoleAdmin:
		return r, nil
	}
	return RoleNone, fmt.Errorf("role %q is none of %s, %s and %s", s, RoleViewer, RoleOperator,
		RoleAdmin)
}

// TokenPrefix begins the text of every token, so that scanners for leaked secrets know one when
// they see it.
const TokenPrefix = "hgt_"

// Token is a key to the admin and read API. Its text, TokenPrefix and 43 characters for 256 random
// bits, is shown once, when it is made; what is kept is the hash. Since nobody can guess such a
// text, a plain SHA-256 of it is enough.
type Token struct {
	// Name is of one token for ever, so that the admin trail always tells who it was.
	Name string
	Role Role
	// Hash is the SHA-256 of the text.
	Hash      [sha256.Size]byte
	CreatedAt time.Time
	// CreatedBy is the name of the token that made it.
	CreatedBy string
	// ExpiresAt is when it stops working, and RevokedAt when it was revoked; zero if never. Times are
	// in microsecond precision.
	ExpiresAt, RevokedAt time.Time
}

// NewTokenText returns the text of a new token.
func NewTokenText() string {
	var secret [32]byte
	rand.Read(secret[:]) // never fails: crypto/rand ends the process rather than return an error
	return TokenPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
}

// IsTokenText reports whether s has the form of the text of a token.
func IsTokenText(s string) bool {
	secret, ok := strings.CutPrefix(s, TokenPrefix)
	if !ok {
		return false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(secret)
	return err == nil && len(b) == 32 && len(secret) == 43 // the decoder passes over line breaks
}

// HashToken returns the hash that a token is kept and found by.
func HashToken(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }
