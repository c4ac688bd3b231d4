package postgres

import (
	"strings"
	"unicode/utf8"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/entry"
)

// storable reports whether PostgreSQL can hold s as text.
func storable(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// clean replaces what PostgreSQL cannot hold as text by U+FFFD.
func clean(s string) string {
	if storable(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// cleanItem cleans what only describes an item, so that it fails no batch. The identity and the
// ordering key of an event are more than that, and PostgreSQL rejects them; but then it comes as a
// dead letter, and that must be kept.
func cleanItem(it *entry.Item) {
	it.Reason, it.Worker, it.LastError = clean(it.Reason), clean(it.Worker), clean(it.LastError)
	if !storable(it.RemoteAddr) {
		d := *it.Request // the record is the caller's
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

// afterPrefix returns the first text behind all that begin with p, which is text itself, or "" if
// there is none. PostgreSQL compares bytes, and the order of the bytes of UTF-8 is that of the
// characters.
func afterPrefix(p string) string {
	for p != "" {
		last, size := utf8.DecodeLastRuneInString(p)
		p = p[:len(p)-size]
		switch {
		case last == 0xD7FF: // what follows is for UTF-16 alone
			return p + "\uE000"
		case last < utf8.MaxRune:
			return p + string(last+1)
		}
	}
	return ""
}

// validPrefix returns the longest beginning of p that is text.
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
