package main

import (
	"os"
	"testing"

	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/load"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == sinkCommand {
		serveSink()
		return
	}
	os.Exit(m.Run())
}

// TestDeliveries checks that the measurements of delivery run and give every figure that their
// verdicts need; outside of make soak only some of their parts. The counts are too small for the figures to mean anything.
func TestDeliveries(t *testing.T) {
	only, verdicts := modeltest.Pick("latency,keys,key", ""), modeltest.Pick(5, 15)
	t.Chdir("..")
	gate, err := build(t.Context(), settings{}, t.TempDir(), "hookgate")
	if err != nil {
		t.Fatal(err)
	}
	d := &document{}
	s := settings{Rounds: 1, Events: 2000, Backlog: 2000, FlatOut: 1000, Paced: 100,
		Size: load.DefaultSize, Connections: 10, Only: only}
	if err := deliveries(t.Context(), d, s, gate); err != nil {
		t.Fatal(err)
	}
	if len(d.Verdicts) < verdicts {
		t.Errorf("%d verdicts, want one for each goal", len(d.Verdicts))
	}
	for _, v := range d.Verdicts {
		if v.Value == 0 {
			t.Errorf("%s: not measured", v.What)
		}
	}
}
