package admit

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/hookgate/hookgate"
)

// member numbers the members of an envelope that identify it.
type member int

const (
	memberMessageID member = iota
	memberEventType
	memberOrderingKey
	memberSequence
	numMembers
	noMember member = -1
)

var memberNames = [numMembers]string{"messageId", "eventType", "orderingKey", "sequence"}

// memberOf returns the member that the inside of a JSON string names.
func memberOf(raw []byte) member {
	if bytes.IndexByte(raw, '\\') < 0 {
		return memberNamed(raw)
	}
	// An escaped character takes at most six bytes, so a longer name is none of ours.
	var buf [6 * len("orderingKey")]byte
	if len(raw) > len(buf) {
		return noMember
	}
	name, _ := unescape(buf[:0], raw, len(buf))
	return memberNamed(name)
}

func memberNamed(name []byte) member {
	switch string(name) {
	case "messageId":
		return memberMessageID
	case "eventType":
		return memberEventType
	case "orderingKey":
		return memberOrderingKey
	case "sequence":
		return memberSequence
	}
	return noMember
}

// span is where a member's value stands; of an object or array, only its first byte.
type span struct{ start, end int }

// members are the top-level members of an object that are of interest. A span without length
// means that there was none.
type members struct {
	spans [numMembers]span
	// twice is the first member found to be duplicated, or noMember.
	twice member
}

// message reads the members of a body that scanObject has accepted.
func (m *members) message(body []byte) (Message, error) {
	if m.twice != noMember {
		return Message{}, &MalformedError{memberNames[m.twice], "occurs more than once"}
	}
	msg := Message{Sequence: hookgate.NoSequence}
	for _, f := range [...]struct {
		member   member
		optional bool
		to       *string
	}{
		{memberMessageID, false, &msg.MessageID},
		{memberEventType, false, &msg.EventType},
		{memberOrderingKey, true, &msg.OrderingKey},
	} {
		raw := m.value(f.member, body)
		if f.optional && isNone(raw) {
			continue
		}
		text, reason := identityString(raw)
		if reason != "" {
			return Message{}, &MalformedError{memberNames[f.member], reason}
		}
		*f.to = text
	}
	if msg.OrderingKey == "" {
		msg.OrderingKey = msg.EventType
	}
	if raw := m.value(memberSequence, body); !isNone(raw) {
		n, err := strconv.ParseUint(string(raw), 10, 63)
		if err != nil {
			return Message{}, &MalformedError{"sequence", "is not an integer from 0 to 9223372036854775807 written in digits alone"}
		}
		msg.Sequence = int64(n)
	}
	return msg, nil
}

func (m *members) value(name member, body []byte) []byte {
	return body[m.spans[name].start:m.spans[name].end]
}

func isNone(raw []byte) bool { return len(raw) == 0 || raw[0] == 'n' }

// identityString decodes a JSON value that must be a string fit to identify something. The reason
// is empty or completes the sentence of a MalformedError.
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

var reasonTooLong = fmt.Sprintf("is longer than %d bytes", MaxIdentityBytes)

// checkIdentity says what is wrong with a text that is to identify something, or nothing.
func checkIdentity(text string) (reason string) {
	switch {
	case text == "":
		return "is empty"
	case len(text) > MaxIdentityBytes:
		return reasonTooLong
	case strings.ContainsFunc(text, isControl):
		return "holds a control character (U+0000 to U+001F or U+007F)"
	case !utf8.ValidString(text):
		return "is not valid UTF-8"
	}
	return ""
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// unescape appends the text of the inside of a JSON string that the scanner has accepted to dst, which
// may come to hold limit bytes. Bytes that are not UTF-8 stay as they are.
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
					if r = utf16.DecodeRune(r, lowSurrogate(raw[i+1:])); r == utf8.RuneError {
						return nil, "holds half of a surrogate pair"
					}
					i += 6
				}
				dst = utf8.AppendRune(dst, r)
			default: // a quotation mark, backslash or slash
				dst = append(dst, raw[i])
			}
		}
		if len(dst) > limit {
			return nil, reasonTooLong
		}
	}
	return dst, ""
}

// lowSurrogate returns the character of the \u escape that raw begins with, or else an invalid one.
func lowSurrogate(raw []byte) rune {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return utf8.RuneError
	}
	return hexRune(raw[2:])
}

// hexRune reads the four hexadecimal digits that raw begins with.
func hexRune(raw []byte) (r rune) {
	for _, c := range raw[:4] {
		r = r<<4 | rune(unhex[c])
	}
	return r
}
