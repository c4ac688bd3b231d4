package dashboard

import (
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate/api"
)

// TestBars: bars stand where their time is, with pieces on top of each other.
func TestBars(t *testing.T) {
	begin := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	b, peak := bars(begin, []api.HistoryPoint{
		{At: api.At(begin.Add(barTime)), HistoryCounts: api.HistoryCounts{Accepted: 10, Unavailable: 10}},
		{At: api.At(begin.Add(96 * barTime)), HistoryCounts: api.HistoryCounts{Unauthenticated: 1,
			Refused: 1}},
	})
	if len(b) != 2 || peak != 20 || b[0].X != 1 || b[1].X != 96 || len(b[0].Pieces) != 2 ||
		b[0].Pieces[1].Y != 4 || b[1].Pieces[0].Height != 5.2 ||
		!strings.Contains(b[0].Title, "12:15 UTC: 10 accepted") {
		t.Errorf("bars are %+v, the highest %d", b, peak)
	}
}

// TestWholeRunes: a text that was cut in the middle of a character stays a text.
func TestWholeRunes(t *testing.T) {
	for text, want := range map[string]string{"": "", "ab": "ab", "aü"[:2]: "a", "a😀"[:4]: "a",
		"\xff\xff\xff\xff": "\xff\xff\xff\xff"} {
		if got := wholeRunes(text); got != want {
			t.Errorf("of %q %q is left, want %q", text, got, want)
		}
	}
}
