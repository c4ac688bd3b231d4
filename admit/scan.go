package admit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
)

// maxDepth is how deep objects and arrays may be nested, including the outermost one.
const maxDepth = 128

// expectation is what may follow in the JSON grammar, apart from white space.
type expectation int

const (
	expectNameOrEnd  expectation = iota // after '{'
	expectName                          // after ',' in an object
	expectValueOrEnd                    // after '['
	expectValue                         // after ':' and after ',' in an array
	expectCommaOrEnd                    // after a value
)

// scanObject is scan for a body that must be an object.
func scanObject(data []byte) error { return scan(data, false, nil) }

// scan checks that data is one JSON object (RFC 8259), or an array if arrays is true, nested at
// most maxDepth deep. It reports names and values to f, which may be nil. It makes one pass without
// recursion. Strings may have bytes that are not UTF-8. The error is a *MalformedError about
// "body".
func scan(data []byte, arrays bool, f *finder) error {
	s := scanner{data: data, root: "object"}
	array, err := s.begin(arrays)
	if err != nil {
		return err
	}
	next := expectNameOrEnd
	if array {
		next = expectValueOrEnd
	}
	for s.depth > 0 {
		c, ok := s.peek()
		if !ok {
			return s.truncated()
		}
		switch next {
		case expectNameOrEnd, expectName:
			if c == '}' && next == expectNameOrEnd {
				s.close(f)
				next = expectCommaOrEnd
				continue
			}
			if c != '"' {
				return s.unexpected("a member name in quotation marks")
			}
			start := s.pos
			if err := s.string(); err != nil {
				return err
			}
			if f.cares(s.depth) {
				f.name(s.depth, data[start+1:s.pos-1])
			}
			if c, ok = s.peek(); !ok {
				return s.truncated()
			} else if c != ':' {
				return s.unexpected("a colon")
			}
			s.pos++
			next = expectValue
		case expectCommaOrEnd:
			array := s.inArray()
			switch {
			case c == ',' && array:
				next = expectValue
				s.pos++
			case c == ',':
				next = expectName
				s.pos++
			case c == ']' && array, c == '}' && !array:
				s.close(f)
			default:
				return s.unexpected("a comma or the end of the object or array")
			}
		case expectValueOrEnd, expectValue:
			if c == ']' && next == expectValueOrEnd {
				s.close(f)
				next = expectCommaOrEnd
				continue
			}
			if f.cares(s.depth) && s.inArray() {
				f.element(s.depth)
			}
			start, at := s.pos, s.depth
			var err error
			next = expectCommaOrEnd
			switch c {
			case '{':
				next, err = expectNameOrEnd, s.open(false)
			case '[':
				next, err = expectValueOrEnd, s.open(true)
			case '"':
				err = s.string()
			case 't':
				err = s.literal("true")
			case 'f':
				err = s.literal("false")
			case 'n':
				err = s.literal("null")
			default:
				err = s.number()
			}
			if err != nil {
				return err
			}
			if f.cares(at) {
				f.value(at, span{start, s.pos}, s.depth > at)
			}
		}
	}
	if _, ok := s.peek(); ok {
		return s.trailing()
	}
	return nil
}

var byteOrderMark = []byte("\xef\xbb\xbf")

type scanner struct {
	data  []byte
	root  string // "object" or "array": the outermost value
	pos   int
	depth int
	// arrays has a bit for each open level, which is set if the level is an array.
	arrays [maxDepth / 64]uint64
}

func malformedBody(format string, args ...any) error {
	return &MalformedError{"body", fmt.Sprintf(format, args...)}
}

// trailing returns the error about data after the outermost value.
func (s *scanner) trailing() error {
	if c := s.data[s.pos]; c == '{' || c == '[' {
		return malformedBody("has several JSON values; send one (the second starts at byte %d)", s.pos)
	}
	return malformedBody("has data after the JSON %s (at byte %d)", s.root, s.pos)
}

// notJSON returns an error that names the form of a body that is not JSON, or nil if it does not
// recognise the form.
func notJSON(data []byte) error {
	head := data[:min(len(data), 256)]
	name, _, pair := bytes.Cut(head, []byte("="))
	isName := func(r rune) bool {
		return r > ' ' && r < 0x7f && !strings.ContainsRune(`"'<>{}[](),;:`,
			r)
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")),
		head[0] == 0:
		return malformedBody(reasonUTF16)
	case head[0] == '<':
		return malformedBody("is XML or HTML; send JSON")
	case bytes.HasPrefix(head, []byte("--")):
		return malformedBody("is multipart/form-data; send JSON")
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return malformedBody("is compressed with gzip, but Content-Encoding does not say so")
	case pair && len(name) > 0 && !bytes.ContainsFunc(name, func(r rune) bool { return !isName(r) }):
		return malformedBody("is a form; send JSON")
	}
	return nil
}

const reasonUTF16 = "is in UTF-16; send UTF-8"

func (s *scanner) truncated() error {
	return malformedBody("is truncated (the JSON %s does not end in its %d bytes)", s.root,
		len(s.data))
}

// unexpected returns the error about the byte at the current position, or about a truncated body.
func (s *scanner) unexpected(wanted string) error {
	if s.pos >= len(s.data) {
		return s.truncated()
	}
	found := fmt.Sprintf("byte 0x%02x", s.data[s.pos])
	if c := s.data[s.pos]; 0x20 < c && c < 0x7f {
		found = string(c)
	}
	rest := s.data[s.pos:]
	switch {
	case s.pos == 1 && rest[0] == 0:
		return malformedBody(reasonUTF16)
	case bytes.HasPrefix(rest, []byte("NaN")), bytes.HasPrefix(rest, []byte("Infinity")):
		return malformedBody("is not valid JSON (JSON has no NaN or Infinity; at byte %d)",
			s.pos)
	}
	return malformedBody("is not valid JSON (%s at byte %d instead of %s)", found, s.pos, wanted)
}

// begin enters the outermost object, or array if arrays is true.
func (s *scanner) begin(arrays bool) (array bool, err error) {
	if len(s.data) == 0 {
		return false, malformedBody("is empty")
	}
	// Some senders write a byte order mark. RFC 8259, section 8.1, lets a reader ignore it.
	if bytes.HasPrefix(s.data, byteOrderMark) {
		s.pos = len(byteOrderMark)
	}
	switch c, ok := s.peek(); {
	case !ok:
		return false, malformedBody("has only white space")
	case c == '[' && arrays:
		s.root = "array"
		return true, s.open(true)
	case c != '{' && notJSON(s.data[s.pos:]) != nil:
		return false, notJSON(s.data[s.pos:])
	case c != '{' && arrays:
		return false, malformedBody("is not a JSON object or array: it begins with neither { nor [")
	case c != '{':
		return false, malformedBody("is not a JSON object: it does not begin with {")
	}
	return false, s.open(false)
}

// peek skips white space and returns the next byte; false at the end.
func (s *scanner) peek() (byte, bool) {
	for ; s.pos < len(s.data); s.pos++ {
		if c := s.data[s.pos]; c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c, true
		}
	}
	return 0, false
}

func (s *scanner) open(array bool) error {
	if s.depth == maxDepth {
		return malformedBody("is nested deeper than %d levels (at byte %d)", maxDepth, s.pos)
	}
	word, bit := s.depth/64, uint64(1)<<(s.depth%64)
	if array {
		s.arrays[word] |= bit
	} else {
		s.arrays[word] &^= bit
	}
	s.depth++
	s.pos++
	return nil
}

func (s *scanner) close(f *finder) {
	if f.cares(s.depth) {
		f.close(s.depth)
	}
	s.depth--
	s.pos++
}

func (s *scanner) inArray() bool {
	return s.arrays[(s.depth-1)/64]>>((s.depth-1)%64)&1 == 1
}

func (s *scanner) literal(word string) error {
	for i := range len(word) {
		if s.pos >= len(s.data) || s.data[s.pos] != word[i] {
			return s.unexpected(word)
		}
		s.pos++
	}
	return nil
}

// number skips a number. It also gets bytes that no value begins with, and returns an error.
func (s *scanner) number() error {
	if s.data[s.pos] == '-' {
		s.pos++
		if s.pos < len(s.data) && !isDigit(s.data[s.pos]) {
			return s.unexpected("a digit")
		}
	}
	switch {
	case s.pos < len(s.data) && s.data[s.pos] == '0':
		s.pos++
	case !s.digits():
		return s.unexpected("a value")
	}
	if s.skip('.') && !s.digits() {
		return s.unexpected("a digit")
	}
	if s.skip('e') || s.skip('E') {
		_ = s.skip('+') || s.skip('-')
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// digits skips digits and reports whether there was at least one.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && isDigit(s.data[s.pos]) {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) skip(c byte) bool {
	if s.pos < len(s.data) && s.data[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// string skips a string. The current byte is the opening quotation mark.
func (s *scanner) string() error {
	for s.pos++; ; {
		s.plain()
		if s.pos >= len(s.data) {
			return s.truncated()
		}
		switch c := s.data[s.pos]; c {
		case '"':
			s.pos++
			return nil
		case '\\':
			s.pos++
			if err := s.escape(); err != nil {
				return err
			}
		default:
			return s.unexpected("an escape: a control character in a string must be escaped")
		}
	}
}

// plain skips the ordinary characters of a string. It stops at a quotation mark, a backslash, a
// control character or the end. It checks eight bytes at a time: a byte of stop has its high bit
// set if the same byte of w is below 0x20, a quotation mark or a backslash. Bytes above the first
// such byte may be wrong; only the first one is used.
func (s *scanner) plain() {
	const each, high = 0x0101010101010101, 0x8080808080808080
	data, pos := s.data, s.pos
	for ; pos+8 <= len(data); pos += 8 {
		w := binary.LittleEndian.Uint64(data[pos:])
		stop := ((w - each*' ') | ((w ^ each*'"') - each) | ((w ^ each*'\\') - each)) &^ w & high
		if stop != 0 {
			s.pos = pos + bits.TrailingZeros64(stop)/8
			return
		}
	}
	for pos < len(data) && data[pos] >= ' ' && data[pos] != '"' && data[pos] != '\\' {
		pos++
	}
	s.pos = pos
}

// escape skips what follows a backslash.
func (s *scanner) escape() error {
	if s.pos >= len(s.data) {
		return s.truncated()
	}
	switch s.data[s.pos] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
		s.pos++
		for range 4 {
			if s.pos >= len(s.data) || unhex[s.data[s.pos]] == notHex {
				return s.unexpected("a hexadecimal digit")
			}
			s.pos++
		}
		return nil
	}
	return s.unexpected("the rest of an escape")
}

const notHex = 0xff

// unhex has the value of each hexadecimal digit, and notHex for other bytes.
var unhex = func() (table [256]byte) {
	for i := range table {
		table[i] = notHex
	}
	for i, c := range []byte("0123456789abcdef") {
		table[c] = byte(i)
	}
	for i, c := range []byte("ABCDEF") {
		table[c] = byte(10 + i)
	}
	return table
}()
