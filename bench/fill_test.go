package main

import (
	"testing"

	"github.com/hookgate/hookgate/load"
)

// TestFilling checks that the gate accepts a filling as its own: it returns the events, recognizes
// repetitions, and the audit passes.
func TestFilling(t *testing.T) {
	ctx := t.Context()
	t.Chdir("..")
	gate, err := builtGate()
	if err != nil {
		t.Fatal(err)
	}
	s := settings{Events: 1000, Size: load.DefaultSize}
	for _, c := range standards(s, gate) {
		if c.name != "embedded" && c.name != "postgres" && c.name != "everysec" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			d := &document{}
			st, samples, err := c.startFilled(ctx, d, "scale", s)
			if err != nil {
				t.Fatal(err)
			}
			defer st.stop()
			if len(samples) != fillSamples {
				t.Errorf("%d samples, want %d", len(samples), fillSamples)
			}
			if err := checkFilling(ctx, st.servers[0], samples); err != nil {
				t.Error(err)
			}
			var found struct {
				OK     bool
				Events int
				Break  any
			}
			if err := st.servers[0].getJSON(ctx, "/api/audit/verify", &found); err != nil || !found.OK ||
				found.Events != s.Events {
				t.Errorf("the audit finds %+v (error %v)", found, err)
			}
		})
	}
}
