package certify

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// TestLatestRows checks that the latest rows of a listing are kept and the earlier ones counted,
// however many pages there are. A listing without an end is an error.
func TestLatestRows(t *testing.T) {
	for _, n := range []int{0, 1, keptRows, keptRows + 1, 2*keptRows + 7} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			after, _ := strconv.Atoi(r.URL.Query().Get("after"))
			limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
			var rows []string
			for id := after + 1; id <= min(n, after+limit); id++ {
				rows = append(rows, fmt.Sprintf(`{"id":"%d"}`, id))
			}
			next := ""
			if after+limit < n {
				next = fmt.Sprintf(`,"next":"%d"`, after+limit)
			}
			fmt.Fprintf(w, `{"approvals":[%s]%s}`, strings.Join(rows, ","), next)
		}))
		target := newTarget(s.URL, "", 1)
		text, err := target.latest(t.Context(), "approvals")
		target.close()
		s.Close()
		var got struct {
			Approvals []struct{ ID string }
			Omitted   int
		}
		if err != nil || json.Unmarshal(text, &got) != nil || got.Approvals == nil {
			t.Fatalf("%d: %.100s (error %v)", n, text, err)
		}
		if got.Omitted != max(0, n-keptRows) || len(got.Approvals) != min(n, keptRows) {
			t.Errorf("%d: %d are kept and %d omitted", n, len(got.Approvals), got.Omitted)
		}
		if n > 0 && got.Approvals[len(got.Approvals)-1].ID != fmt.Sprint(n) {
			t.Errorf("%d: the last is %v", n, got.Approvals[len(got.Approvals)-1])
		}
	}
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter,
		r *http.Request) {
		fmt.Fprint(w, `{"approvals":[],"next":"1"}`)
	}))
	defer endless.Close()
	target := newTarget(endless.URL, "", 1)
	defer target.close()
	if text, err := target.latest(t.Context(), "approvals"); err == nil ||
		!strings.Contains(err.Error(), "no end") {
		t.Errorf("%s (error %v)", text, err)
	}
}
