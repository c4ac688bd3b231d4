package adminapi

import (
	"strings"
	"testing"
	"time"
)

// TestHistoryParameters: bad parameters get 400 with a reason, and the defaults fit the time.
func TestHistoryParameters(t *testing.T) {
	now := time.Date(2026, 11, 30, 8, 30, 30, 0, time.UTC)
	for query, want := range map[string]string{
		"step=90s": "whole minutes", "step=0s": "whole minutes", "step=1m": "too short",
		"kind=event": "must be gate", "name=shop": "needs a kind", "from=now": "must be a time",
		"from=2026-11-30T09:00:00Z": "must be after from", "x=1": "unknown", "kind=": "must be gate",
	} {
		if _, err := parseHistory(query, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", query, err, want)
		}
	}
	for query, want := range map[string][2]time.Duration{
		"":                          {10 * time.Minute, 24 * time.Hour},
		"from=2026-11-30T08:00:00Z": {time.Minute, 1830 * time.Second},
		"from=2026-11-01T00:00:00Z": {10 * time.Minute, 24 * time.Hour},
		"to=2026-11-01T00:00:00Z":   {time.Minute, 0},
	} {
		q, err := parseHistory(query, now)
		if err != nil || q.Step != want[0] || q.To.Sub(q.From) != want[1] {
			t.Errorf("%q: %v to %v by %v, error %v", query, q.From, q.To, q.Step, err)
		}
	}
}
