package ingest

import (
	"strings"

	"github.com/hookgate/hookgate/internal/httpserver"
)

const (
	// listedSources is how many paths are logged if none is similar.
	listedSources = 5
	// typos is how many wrong characters a similar path may have.
	typos = 2
)

// nearest returns the path of the source that a request to another path was probably meant for, or
// the first paths of all. It is for the log; the sender must not see it.
func (h *Handler) nearest(path string) []any {
	segments := strings.FieldsFunc(strings.ToLower(path[:min(len(path), httpserver.MaxLogged)]),
		func(r rune) bool { return r == '/' })
	wanted := "/" + strings.Join(segments, "/")
	best, fewest := "", typos+1
	for _, source := range h.byName {
		if n := distance(wanted, source.path(), fewest); n < fewest {
			best, fewest = source.path(), n
		}
	}
	for i := len(segments) - 1; i >= 0 && best == ""; i-- {
		if source := h.sources[webhookPrefix+segments[i]]; source != nil {
			best = source.path()
		}
	}
	if best != "" {
		return []any{"nearest", best}
	}
	var paths []string
	for i, source := range h.byName {
		if i == listedSources {
			paths = append(paths, "…")
			break
		}
		paths = append(paths, source.path())
	}
	return []any{"sources", strings.Join(paths, ", ")}
}

// distance returns how many bytes must be inserted, removed or replaced to make b from a
// (Levenshtein), or bound if it is that or more.
func distance(a, b string, bound int) int {
	if len(a)-len(b) >= bound || len(b)-len(a) >= bound {
		return bound
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, diagonal+1, row[j]+1)
		}
	}
	return min(row[len(b)], bound)
}
