package load

import (
	"maps"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longest is the greatest time that the histograms record.
const longest = time.Hour

// tally counts a run. Its methods may be called concurrently.
type tally struct {
	start time.Time

	mu      sync.Mutex // guards all below
	sum     Summary
	latency *hdrhistogram.Histogram // microseconds from due to final answer
	// microseconds from due to first sent, without events whose key was busy
	lag      *hdrhistogram.Histogram
	firstDue time.Time
	lastEnd  time.Time
}

func newTally() *tally {
	histogram := func() *hdrhistogram.Histogram {
		return hdrhistogram.New(1, longest.Microseconds(),
			3)
	}
	return &tally{start: time.Now(), sum: Summary{Statuses: map[int]int{}}, latency: histogram(),
		lag: histogram()}
}

// attempt counts an attempt. final means that ev will not be sent again.
func (t *tally) attempt(ev *event, a *Attempt, final bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Attempts++
	t.sum.Statuses[a.Status]++
	if a.Attempt == 1 {
		t.sum.Lines++
		if t.firstDue.IsZero() || ev.due.Before(t.firstDue) {
			t.firstDue = ev.due
		}
		if !ev.held {
			record(t.lag, ev.firstSent.Sub(ev.due))
		}
	} else {
		t.sum.Retries++
	}
	if end := ev.due.Add(time.Duration(a.LatencyUS) * time.Microsecond); end.After(t.lastEnd) {
		t.lastEnd = end
	}
	if !final {
		t.sum.lastRetry = a.Error
		return
	}
	record(t.latency, time.Duration(a.LatencyUS)*time.Microsecond)
	t.sum.Bytes += int64(len(ev.body)) + 1
	switch {
	case a.Duplicate():
		t.sum.Duplicates++
		t.sum.Accepted++
	case a.Accepted():
		t.sum.Accepted++
	default:
		t.sum.Failed++
		t.sum.LastError = a.Error
	}
}

// summary returns the summary so far. Times end with the last answer if the run is over, and
// otherwise now.
func (t *tally) summary(over bool) Summary {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sum
	s.Statuses = maps.Clone(s.Statuses)
	end := time.Now()
	if over {
		end = t.lastEnd
	}
	if !t.firstDue.IsZero() {
		s.ElapsedSeconds = end.Sub(t.firstDue).Seconds()
	}
	if s.ElapsedSeconds > 0 {
		s.Rate = float64(s.Accepted) / s.ElapsedSeconds
	}
	s.LatencyMS, s.LagMS = quantiles(t.latency), quantiles(t.lag)
	return s
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	// The value is within the bounds of the histogram, so there is no error.
	h.RecordValue(min(max(d, 0), longest).Microseconds())
}

func quantiles(h *hdrhistogram.Histogram) Quantiles {
	ms := func(us int64) float64 { return float64(us) / 1000 }
	return Quantiles{
		P50: ms(h.ValueAtQuantile(50)),
		P95: ms(h.ValueAtQuantile(95)),
		P99: ms(h.ValueAtQuantile(99)),
		Max: ms(h.Max()),
	}
}
