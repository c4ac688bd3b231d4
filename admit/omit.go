package admit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// omit has the paths of the members that a hash of the body leaves out. A path goes through arrays
// into each element: "attemptNumber" matches in {"attemptNumber":1} and in
// [{"attemptNumber":1},{"attemptNumber":2}].
type omit []path

// parseOmit parses paths joined by "+".
func parseOmit(text string) (o omit, err error) {
	for one := range strings.SplitSeq(text, "+") {
		p, err := parsePath(one)
		if err != nil {
			return nil, err
		}
		for _, name := range p {
			if name[0] >= '0' && name[0] <= '9' {
				return nil, fmt.Errorf("path %q has an index: the path of an omitted member goes through"+
					" all elements of an array", one)
			}
		}
		o = append(o, p)
	}
	if len(o) > maxPaths {
		return nil, fmt.Errorf("there are more than %d paths", maxPaths)
	}
	return o, nil
}

// omitLevel is an object or array that contains the current position.
type omitLevel struct {
	array bool
	// paths has a bit for each path that goes through this level. matched is the number of parts that
	// have matched.
	paths   uint32
	matched int
	// kept says that a member of the object was hashed, so that a comma precedes the next one.
	kept bool
}

// hash returns the SHA-256, in hex, of a body without the omitted members and their commas, as if
// the members had never been there. scan must have accepted the body. hash makes one pass and needs
// constant memory.
func (o omit) hash(data []byte) string {
	var levels [maxDepth + 1]omitLevel
	levels[0] = omitLevel{array: true, paths: 1<<len(o) - 1}
	s, h := scanner{data: data}, sha256.New()
	if bytes.HasPrefix(data, byteOrderMark) {
		s.pos = len(byteOrderMark)
	}
	depth, from := 0, 0 // everything before from is hashed or omitted
	through := uint32(0)
	comma := 0 // position of the last comma
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
			if !at.array && !at.kept { // all members before it are omitted
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

// match reports whether the hash omits a member. If not, it finds the paths that go through it.
func (o omit) match(at *omitLevel, raw []byte, through *uint32) bool {
	var buf [6 * maxPathPart]byte
	if len(raw) > len(buf) {
		return false // longer than any escaped part of a path
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

// skipValue moves from the end of a member's name to the end of its value.
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
