package ingest

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestRefusalReasonsAreBounded: beyond the bound there is "other", for each status apart.
func TestRefusalReasonsAreBounded(t *testing.T) {
	var f refusalReasons
	for i := range 100 {
		f.count(&refusal{status: 401, class: strconv.Itoa(i)})
	}
	f.count(&refusal{status: 400, told: "id is missing"})
	f.count(&refusal{status: 401, class: strings.Repeat("x\x1b", 1000)})
	all := f.all()
	if len(all) != maxRefusalReasons+2 ||
		all[0] != (RefusalCount{401, otherReason, 100 - maxRefusalReasons + 1}) ||
		!slices.Contains(all, RefusalCount{400, "id is missing", 1}) {
		t.Errorf("%v", all)
	}
}
