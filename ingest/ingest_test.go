package ingest

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestReasonsAreBounded: beyond the bound there is "other", for each status apart.
func TestReasonsAreBounded(t *testing.T) {
	var f rejectionCounts
	for i := range 100 {
		f.count(&rejection{status: 401, class: strconv.Itoa(i)})
	}
	f.count(&rejection{status: 400, text: "id is missing"})
	f.count(&rejection{status: 401, class: strings.Repeat("x\x1b", 1000)})
	all := f.all()
	if len(all) != maxReasons+2 ||
		all[0] != (RejectionCount{401, otherReason, 100 - maxReasons + 1}) ||
		!slices.Contains(all, RejectionCount{400, "id is missing", 1}) {
		t.Errorf("%v", all)
	}
}
