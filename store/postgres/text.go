package postgres

import (
	"strings"
	"unicode/utf8"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/entry"
)

// storable reports whether PostgreSQL can store s as text.
func storable(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// clean replaces the parts of s that PostgreSQL cannot store as text with U+FFFD.
func clean(s string) string {
	if storable(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// cleanItem cleans the descriptive fields of an item, so that they cannot make a batch fail.
// PostgreSQL rejects an event if its identity or ordering key cannot be stored. A dead letter must
// be kept, so its identity and key are cleaned too.
func cleanItem(it *entry.Item) {
	it.Reason, it.Worker, it.LastError = clean(it.Reason), clean(it.Worker), clean(it.LastError)
	if !storable(it.RemoteAddr) {
		d := *it.Request // the record belongs to the caller
		d.RemoteAddr = clean(d.RemoteAddr)
		it.Request = &d
	}
	if it.Outcome == hookgate.StageDeadLettered {
		cleanIdentity(it)
	}
}

// cleanIdentity cleans the identity and the ordering key of an item.
func cleanIdentity(it *entry.Item) {
	if storable(it.MessageID) && storable(it.EventType) && storable(it.Source) &&
		storable(it.OrderingKey) {
		return
	}
	d := *it.Request
	d.MessageID, d.EventType, d.Source, d.OrderingKey = clean(d.MessageID), clean(d.EventType),
		clean(d.Source), clean(d.OrderingKey)
	it.Request, it.Key = &d, audit.IdentityKey(d.Identity)
}

// afterPrefix returns the first valid text that sorts after all texts with the prefix p, or "" if
// there is none. PostgreSQL compares bytes, and in UTF-8 bytes sort like characters.
func afterPrefix(p string) string {
	for p != "" {
		last, size := utf8.DecodeLastRuneInString(p)
		p = p[:len(p)-size]
		switch {
		case last == 0xD7FF: // the next code points are UTF-16 surrogates
			return p + "\uE000"
		case last < utf8.MaxRune:
			return p + string(last+1)
		}
	}
	return ""
}

// validPrefix returns the longest prefix of p that is valid text.
func validPrefix(p string) string {
	for i := 0; i < len(p); {
		r, size := utf8.DecodeRuneInString(p[i:])
		if r == utf8.RuneError && size == 1 {
			return p[:i]
		}
		i += size
	}
	return p
}
