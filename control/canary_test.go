package control

import (
	"testing"
	"time"
)

// TestCanaryText: ParseCanary returns the canary that String wrote, and rejects other text.
func TestCanaryText(t *testing.T) {
	for _, c := range []Canary{
		{Version: 1, At: time.Unix(1, 0).UTC()},
		{Version: 1 << 40, Percent: 100, Step: 3, At: time.Unix(1_700_000_000, 123_000).UTC(),
			By: "alice", Reason: "release \"7\"\n", Evidence: "ab12"},
	} {
		if got, err := ParseCanary(c.String()); err != nil || got != c {
			t.Errorf("%q is read as %+v, %v", c, got, err)
		}
	}
	if got, err := ParseCanary(""); err != nil || got != (Canary{}) {
		t.Errorf("nothing is read as %+v, %v", got, err)
	}
	for _, text := range []string{"1", "x {}", `0 {"percent":1}`, `1 {"percent":101}`,
		`1 {"percent":-1}`, `1 {"percent":1,"step":-1}`, `1 {"percent":"1"}`, "-1 {}"} {
		if got, err := ParseCanary(text); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}
