package admit

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/hookgate/hookgate"
)

// envelopePaths are the members of an envelope that identify its event.
var envelopePaths = []path{{"messageId"}, {"eventType"}, {"orderingKey"}, {"sequence"}}

const (
	memberMessageID = iota
	memberEventType
	memberOrderingKey
	memberSequence
)

// scanEnvelope parses the body of an envelope.
func scanEnvelope(body []byte) (Message, error) {
	var f finder
	f.lookFor(envelopePaths, 1)
	if err := scan(body, false, &f); err != nil {
		return Message{}, err
	}
	msg := Message{Sequence: hookgate.NoSequence}
	for _, m := range [...]struct {
		member int
		to     *string
	}{{memberMessageID, &msg.MessageID}, {memberEventType, &msg.EventType}} {
		text, reason := identityString(f.raw(m.member, body))
		if f.ambiguous>>m.member&1 == 1 {
			reason = reasonTwice
		}
		if reason != "" {
			return Message{}, &MalformedError{envelopePaths[m.member][0], reason}
		}
		*m.to = text
	}
	// The other two are optional. An authentic event is never rejected for an optional field.
	if f.ambiguous>>memberOrderingKey&1 == 0 {
		msg.OrderingKey, _ = jsonIdentity(f.raw(memberOrderingKey, body))
	}
	msg.orderByType()
	if f.ambiguous>>memberSequence&1 == 0 {
		if n, ok := parseSequence(string(f.raw(memberSequence, body))); ok {
			msg.Sequence = n
		}
	}
	return msg, nil
}

// parseSequence parses an integer from 0 to 2^63-1 written in digits only.
func parseSequence(text string) (int64, bool) {
	if text == "" { // by far the most frequent case
		return hookgate.NoSequence, false
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return hookgate.NoSequence, false
	}
	return int64(n), true
}

// raw returns the value of path i in a scanned body: the first byte of an object or array, and
// nothing if there is no value.
func (f *finder) raw(i int, body []byte) []byte { return body[f.spans[i].start:f.spans[i].end] }

func isNone(raw []byte) bool { return len(raw) == 0 || raw[0] == 'n' }

// identityString decodes a JSON value that must be a string which can identify something. The
// reason is empty or completes the sentence of a MalformedError.
func identityString(raw []byte) (text, reason string) {
	if len(raw) == 0 {
		return "", "is missing"
	}
	if raw[0] != '"' {
		return "", "is not a string"
	}
	var buf [MaxIdentityBytes]byte
	decoded, reason := unescape(buf[:0], raw[1:len(raw)-1], len(buf))
	if reason != "" {
		return "", reason
	}
	text = string(decoded)
	return text, checkIdentity(text)
}

// identify returns text if it can identify something, else its hash.
func identify(text string) string {
	if checkIdentity(text) != "" {
		return hashOf(text)
	}
	return text
}

var reasonTooLong = fmt.Sprintf("is longer than %d bytes", MaxIdentityBytes)

// checkIdentity returns why a text cannot identify something; empty if it can.
func checkIdentity(text string) (reason string) {
	switch {
	case text == "":
		return "is empty"
	case len(text) > MaxIdentityBytes:
		return reasonTooLong
	case strings.ContainsFunc(text, isControl):
		return "has a control character (U+0000 to U+001F or U+007F)"
	case !utf8.ValidString(text):
		return "is not valid UTF-8"
	}
	return ""
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// noLimit lets unescape decode strings of any length, and unpaired surrogates.
const noLimit = -1

// unescape decodes raw, the inside of a JSON string that the scanner has accepted. It appends the
// text to dst, which may grow to limit bytes. Bytes that are not UTF-8 stay as they are. An
// unpaired surrogate is an error or, with noLimit, becomes the three bytes that UTF-8 would have
// for it.
func unescape(dst, raw []byte, limit int) (text []byte, reason string) {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
		} else {
			i++
			switch raw[i] {
			case 'b':
				dst = append(dst, '\b')
			case 'f':
				dst = append(dst, '\f')
			case 'n':
				dst = append(dst, '\n')
			case 'r':
				dst = append(dst, '\r')
			case 't':
				dst = append(dst, '\t')
			case 'u':
				r := hexRune(raw[i+1:])
				i += 4
				if utf16.IsSurrogate(r) {
					pair := utf16.DecodeRune(r, lowSurrogate(raw[i+1:]))
					switch {
					case pair != utf8.RuneError:
						i += 6
					case limit == noLimit:
						dst = append(dst, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f)
						continue
					default:
						return nil, "has an unpaired surrogate"
					}
					r = pair
				}
				dst = utf8.AppendRune(dst, r)
			default: // a quotation mark, backslash or slash
				dst = append(dst, raw[i])
			}
		}
		if len(dst) > limit && limit != noLimit {
			return nil, reasonTooLong
		}
	}
	return dst, ""
}

// lowSurrogate returns the character of the \u escape at the start of raw, or an invalid one.
func lowSurrogate(raw []byte) rune {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return utf8.RuneError
	}
	return hexRune(raw[2:])
}

// hexRune decodes the four hexadecimal digits at the start of raw.
func hexRune(raw []byte) (r rune) {
	for _, c := range raw[:4] {
		r = r<<4 | rune(unhex[c])
	}
	return r
}
