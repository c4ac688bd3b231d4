package admit

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

const (
	// A source may have maxPaths paths, a path maxPathParts parts, and a part maxPathPart bytes.
	maxPaths, maxPathParts, maxPathPart = 16, 8, 64
	noPath                              = -1
	// anyElement is a part of a path that matches each element of an array. No configured path has it.
	anyElement = "*"
)

// path is the path to a value in JSON: member names and array indexes.
type path []string

// parsePath parses a configured path, whose parts are joined by dots. It rejects characters that
// have another meaning in other path languages, such as queries, modifiers and wildcards.
func parsePath(text string) (path, error) {
	parts := path(strings.Split(text, "."))
	if len(parts) > maxPathParts {
		return nil, fmt.Errorf("path %q has more than %d parts", text, maxPathParts)
	}
	for _, name := range parts {
		if name == "" {
			return nil, fmt.Errorf("path %q has an empty part; write it like repository.full_name", text)
		}
		if len(name) > maxPathPart {
			return nil, fmt.Errorf("path %q has a part of more than %d bytes", text, maxPathPart)
		}
		for _, r := range name {
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-$/", r) {
				return nil, fmt.Errorf("path %q has %q; a path has member names (letters, digits, _ - $ /)"+
					" and array indexes, joined by dots", text, r)
			}
		}
	}
	return parts, nil
}

// span is the position of a value; of an object or array, that of its first byte only.
type span struct{ start, end int }

// finder finds the values of some paths while scan goes over a body. It also reports a path of
// which a part occurs twice: two readers could then find different values. A nil finder finds
// nothing.
type finder struct {
	paths []path
	// longest is the number of parts of the longest path.
	longest int
	// spans has the position of the value of each path; empty if there is no value.
	spans [maxPaths]span
	// twice is the first ambiguous path, or noPath. ambiguous has a bit for each ambiguous path.
	twice     int
	ambiguous uint32

	// each is called with every value of a path, if it is set. elements counts the matches of
	// anyElement.
	each     func(span)
	elements int

	open  [maxPaths]int8 // number of parts that lead to the object or array being scanned
	seen  [maxPaths]int8 // number of parts that have occurred
	here  uint32         // the paths that match the next value
	index [maxPathParts + 1]int
}

// lookFor prepares f for one scan.
func (f *finder) lookFor(paths []path, longest int) {
	f.paths, f.longest, f.twice, f.ambiguous = paths, longest, noPath, 0
}

func longestOf(paths []path) (n int) {
	for _, p := range paths {
		n = max(n, len(p))
	}
	return n
}

// cares reports whether a value at this depth (1 is the outermost object or array) may be on a
// path.
func (f *finder) cares(depth int) bool { return f != nil && depth <= f.longest }

// name records the name of a member; raw is the inside of its JSON string.
func (f *finder) name(depth int, raw []byte) {
	f.here = 0
	if bytes.IndexByte(raw, '\\') >= 0 {
		// An escaped character has at most six bytes, so a longer name is on no path.
		var buf [6 * maxPathPart]byte
		if len(raw) > len(buf) {
			return
		}
		decoded, reason := unescape(buf[:0], raw, len(buf))
		if reason != "" {
			return
		}
		f.match(depth, decoded, false)
		return
	}
	f.match(depth, raw, false)
}

// element records that the next value is an element of an array.
func (f *finder) element(depth int) {
	f.here = 0
	var buf [20]byte
	f.match(depth, strconv.AppendInt(buf[:0], int64(f.index[depth]), 10), true)
	f.index[depth]++
}

func (f *finder) match(depth int, name []byte, element bool) {
	for i, p := range f.paths {
		if int(f.open[i]) != depth-1 || len(p) < depth {
			continue
		}
		if p[depth-1] == anyElement {
			if element {
				f.elements++
				f.seen[i] = int8(depth)
				f.here |= 1 << i
			}
			continue
		}
		if p[depth-1] != string(name) {
			continue
		}
		if int(f.seen[i]) >= depth {
			if f.twice == noPath {
				f.twice = i
			}
			f.ambiguous |= 1 << i
			continue
		}
		f.seen[i] = int8(depth)
		f.here |= 1 << i
	}
}

// value records the value of the last member or element. container says that it is an object or
// array, which the scan has just entered.
func (f *finder) value(depth int, at span, container bool) {
	if container && depth < f.longest {
		f.index[depth+1] = 0
	}
	for i := 0; f.here != 0; i, f.here = i+1, f.here>>1 {
		switch {
		case f.here&1 == 0:
		case len(f.paths[i]) == depth:
			f.spans[i] = at
			if f.each != nil {
				f.each(at)
			}
		case container:
			f.open[i] = int8(depth)
		}
	}
}

// close records the end of an object or array at depth.
func (f *finder) close(depth int) {
	for i := range f.paths {
		if depth > 1 && int(f.open[i]) == depth-1 {
			f.open[i]--
		}
	}
}
