package admit

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/hookgate/hookgate"
)

// envelopePaths are the members that identify an envelope.
var envelopePaths = []path{{"messageId"}, {"eventType"}, {"orderingKey"}, {"sequence"}}

const (
	memberMessageID = iota
	memberEventType
	memberOrderingKey
	memberSequence
)

// scanEnvelope reads the body of an envelope.
func scanEnvelope(body []byte) (Message, error) {
	var f finder
	f.lookFor(envelopePaths, 1)
	if err := scan(body, false, &f); err != nil {
		return Message{}, err
	}
	if f.twice != noPath {
		return Message{}, &MalformedError{envelopePaths[f.twice][0], "occurs more than once"}
	}
	msg := Message{Sequence: hookgate.NoSequence}
	for _, m := range [...]struct {
		member   int
		optional bool
		to       *string
	}{
		{memberMessageID, false, &msg.MessageID},
		{memberEventType, false, &msg.EventType},
		{memberOrderingKey, true, &msg.OrderingKey},
	} {
		raw := f.raw(m.member, body)
		if m.optional && isNone(raw) {
			continue
		}
		text, reason := identityString(raw)
		if reason != "" {
			return Message{}, &MalformedError{envelopePaths[m.member][0], reason}
		}
		*m.to = text
	}
	if msg.OrderingKey == "" {
		msg.OrderingKey = msg.EventType
	}
	if raw := f.raw(memberSequence, body); !isNone(raw) {
		n, ok := parseSequence(string(raw))
		if !ok {
			return Message{}, &MalformedError{"sequence", reasonSequence}
		}
		msg.Sequence = n
	}
	return msg, nil
}

const reasonSequence = "is not an integer from 0 to 9223372036854775807 written in digits alone"

func parseSequence(text string) (int64, bool) {
	n, err := strconv.ParseUint(text, 10, 63)
	return int64(n), err == nil
}

// raw returns the value of a path in a body that was scanned; of an object or array its first byte, and nothing if
// there is no value.
func (f *finder) raw(i int, body []byte) []byte { return body[f.spans[i].start:f.spans[i].end] }

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
