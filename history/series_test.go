package history

import (
	"context"
	"math"
	"testing"
	"time"
)

// TestHistogram: the text of a histogram reads back, and quantiles are within their buckets.
func TestHistogram(t *testing.T) {
	var h Histogram
	if h.Quantile(0.95) != 0 || h.String() != "" {
		t.Error("an empty histogram has a quantile or a text")
	}
	h.Observe(0.05, 50)
	h.Observe(4, 45)
	h.Observe(math.Inf(1), 5)
	if got := h.String(); got != "0.1:50 5:45 inf:5" {
		t.Errorf("text %q", got)
	}
	back, err := ParseHistogram(h.String())
	if err != nil || back != h {
		t.Errorf("read back %v, error %v", back.String(), err)
	}
	for share, want := range map[float64][2]time.Duration{
		0.25: {0, 100 * time.Microsecond}, 0.9: {3 * time.Millisecond, 5 * time.Millisecond},
		0.99: {24 * time.Hour, 24 * time.Hour},
	} {
		if got := h.Quantile(share); got < want[0] || got > want[1] {
			t.Errorf("quantile %v is %v, want %v to %v", share, got, want[0], want[1])
		}
	}
	for _, bad := range []string{"x", "1:", "a:1", "1:1 2"} {
		if _, err := ParseHistogram(bad); err == nil {
			t.Errorf("%q is a histogram", bad)
		}
	}
}

// TestRead sums two processes up by steps, and selects by time and subject.
func TestRead(t *testing.T) {
	begin := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	s := &table{rows: map[Minute]Counts{}}
	for n := range 20 {
		for _, process := range []string{"a", "b"} {
			for _, name := range []string{"shop", "bank"} {
				s.rows[Minute{At: begin.Add(time.Duration(n) * time.Minute), Process: process,
					Subject: Subject{Source, name}}] = Counts{Accepted: 1}
			}
		}
	}
	all, err := Read(context.Background(), s, Query{From: begin.Add(7 * time.Minute),
		To: begin.Add(11 * time.Minute), Step: 5 * time.Minute, Only: Subject{Source, "shop"}})
	if err != nil {
		t.Fatal(err)
	}
	series := all[Subject{Source, "shop"}]
	if len(all) != 1 || series == nil || len(series.Points) != 2 || series.Total.Accepted != 20 ||
		!series.Points[0].At.Equal(begin.Add(5*time.Minute)) || series.Points[1].Accepted != 10 {
		t.Errorf("read %+v", series)
	}
}
