package admit

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

const (
	// maxPaths is how many paths one source may look for, maxPathParts how many parts a path may have
	// and maxPathPart how many bytes a part.
	maxPaths, maxPathParts, maxPathPart = 16, 8, 64
	noPath                              = -1
	// anyElement is a part of a path that stands for each element of an array. No configured path has
	// it.
	anyElement = "*"
)

// path leads to a value in JSON: member names and array indexes.
type path []string

// parsePath reads a path as it is configured, its parts joined by dots. It refuses what other
// programs would take for more than member names and array indexes: queries, modifiers, wildcards.
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
				return nil, fmt.Errorf("path %q holds %q; only member names (letters, digits, _ - $ /)"+
					" and array indexes joined by dots are understood", text, r)
			}
		}
	}
	return parts, nil
}

// span is where a value stands; of an object or array, only its first byte.
type span struct{ start, end int }

// finder notes where the values of some paths stand while a scan goes over a body, and whether any
// part of a path occurs twice: two readers could then take different values for the same thing. A
// nil finder looks for nothing.
type finder struct {
	paths []path
	// longest is the number of parts of the longest path.
	longest int
	// spans has the value of each path; without length if there is none.
	spans [maxPaths]span
	// twice is the first path found to be ambiguous, or noPath; ambiguous has a bit for each.
	twice     int
	ambiguous uint32

	// each, if it is set, gets every value of a path, and elements counts what anyElement has stood
	// for.
	each     func(span)
	elements int

	open  [maxPaths]int8 // how many parts of the path lead to the object or array that the scan is in
	seen  [maxPaths]int8 // how many parts of the path have occurred
	here  uint32         // the paths that the value which follows belongs to
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

// cares reports whether what stands in an object or array of this depth (1 is the outermost) may be
// on a path.
func (f *finder) cares(depth int) bool { return f != nil && depth <= f.longest }

// name notes the name of a member: raw is the inside of its JSON string.
func (f *finder) name(depth int, raw []byte) {
	f.here = 0
	if bytes.IndexByte(raw, '\\') >= 0 {
		// An escaped character takes at most six bytes, so that a longer name is on no path.
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

// element notes that an element of an array follows.
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

// value notes the value of the member or element before, which is a container if the scan is inside
// of it now.
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

// close notes the end of an object or array of the given depth.
func (f *finder) close(depth int) {
	for i := range f.paths {
		if depth > 1 && int(f.open[i]) == depth-1 {
			f.open[i]--
		}
	}
}
