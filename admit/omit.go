package admit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// omit are paths of members of JSON objects that a hash of the body leaves out. An array is
// transparent: a path through it is that of a member of each of its elements, so that
// "attemptNumber" is in {"attemptNumber":1} and in [{"attemptNumber":1},{"attemptNumber":2}].
type omit []path

// parseOmit reads paths joined by "+".
func parseOmit(text string) (o omit, err error) {
	for one := range strings.SplitSeq(text, "+") {
		p, err := parsePath(one)
		if err != nil {
			return nil, err
		}
		for _, name := range p {
			if name[0] >= '0' && name[0] <= '9' {
				return nil, fmt.Errorf("path %q has an index: a path of a member to leave out goes through all elements of an array", one)
			}
		}
		o = append(o, p)
	}
	if len(o) > maxPaths {
		return nil, errors.New("there are too many paths")
	}
	return o, nil
}

// omitLevel is an object or array that the hash is in.
type omitLevel struct {
	array bool
	// paths has a bit for each path that leads through here, matched is how many of its parts do.
	paths   uint32
	matched int
	// kept says that a member of the object has been hashed: there is a comma before the next.
	kept bool
}

// hash returns the SHA-256, in hex, of a body that scan has accepted, without the members and the
// commas that go with them: the members that are left are what they would be had the others never
// been there. It is one pass over the body, in the memory of the deepest nesting that scan allows.
func (o omit) hash(data []byte) string {
	var levels [maxDepth + 1]omitLevel
	levels[0] = omitLevel{array: true, paths: 1<<len(o) - 1}
	s, h := scanner{data: data}, sha256.New()
	if bytes.HasPrefix(data, byteOrderMark) {
		s.pos = len(byteOrderMark)
	}
	depth, from := 0, 0 // all before from is hashed or left out
	through := uint32(0)
	comma := 0 // where the last one stands
	isName := false
	for s.pos < len(data) {
		at := &levels[depth]
		switch data[s.pos] {
		case '{', '[':
			matched := at.matched
			if !at.array {
				matched++
			} else {
				through = at.paths
			}
			depth++
			levels[depth] = omitLevel{array: data[s.pos] == '[', paths: through, matched: matched}
			isName = !levels[depth].array
			s.pos++
		case '}', ']':
			depth--
			isName = false
			s.pos++
		case ',':
			comma, isName = s.pos, !at.array
			if !at.array && !at.kept { // all members before it are left out
				h.Write(data[from:s.pos])
				from = s.pos + 1
			}
			s.pos++
		case '"':
			start := s.pos
			if s.string() != nil {
				s.pos = len(data)
			}
			if !isName {
				continue
			}
			isName = false
			through = 0
			if at.paths == 0 || !o.match(at, data[start+1:s.pos-1], &through) {
				at.kept = true
				continue
			}
			if at.kept {
				start = comma
			}
			h.Write(data[from:max(from, start)])
			s.skipValue()
			from = s.pos
		default:
			s.pos++
		}
	}
	h.Write(data[from:])
	return hex.EncodeToString(h.Sum(nil))
}

// match reports whether the hash leaves a member out; else it finds the paths that lead through it.
func (o omit) match(at *omitLevel, raw []byte, through *uint32) bool {
	var buf [6 * maxPathPart]byte
	if len(raw) > len(buf) {
		return false // longer than any part of a path, however it is escaped
	}
	name, reason := unescape(buf[:0], raw, len(buf))
	if reason != "" {
		return false
	}
	for i, p := range o {
		if at.paths>>i&1 == 0 || p[at.matched] != string(name) {
			continue
		}
		if len(p) == at.matched+1 {
			return true
		}
		*through |= 1 << i
	}
	return false
}

// skipValue goes from behind a member's name to behind its value.
func (s *scanner) skipValue() {
	for depth := 0; s.pos < len(s.data); {
		switch s.data[s.pos] {
		case ':', ',', ' ', '\t', '\n', '\r':
			s.pos++
			continue
		case '"':
			if s.string() != nil {
				s.pos = len(s.data)
			}
		case '{', '[':
			depth++
			s.pos++
		case '}', ']':
			depth--
			s.pos++
		default:
			for s.pos < len(s.data) && strings.IndexByte(",]} \t\n\r", s.data[s.pos]) < 0 {
				s.pos++
			}
		}
		if depth <= 0 {
			return
		}
	}
}
