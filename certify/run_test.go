package certify

import (
	"testing"

	"github.com/hookgate/hookgate/load"
)

// TestProgress: while requests are sent, the line of progress has the load and what is queued.
func TestProgress(t *testing.T) {
	queued, load := int64(7), load.Summary{Lines: 1200, Rate: 499.6, Failed: 2}
	load.LatencyMS.P95 = 3.456
	for _, test := range []struct {
		progress Progress
		want     string
	}{
		{Progress{Doing: "judging", Begins: true}, "judging"},
		{Progress{Phase: "full", Doing: Sending, Begins: true, Load: load, Depth: &queued},
			"full: sending"},
		{Progress{Phase: "full", Doing: Sending, Load: load},
			"full: 1200 sent, 500/s, P95 3.46 ms, 2 not accepted"},
		{Progress{Phase: "full", Doing: Sending, Load: load, Depth: &queued},
			"full: 1200 sent, 500/s, P95 3.46 ms, 2 not accepted, 7 queued"},
		{Progress{Phase: "full", Doing: draining, Load: load, Depth: &queued}, "full: 7 queued"},
	} {
		if got := test.progress.String(); got != test.want {
			t.Errorf("%+v is %q, want %q", test.progress, got, test.want)
		}
	}
}
