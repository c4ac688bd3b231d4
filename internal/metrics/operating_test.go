package metrics

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/guard"
)

// TestNativeHistograms: a Prometheus that asks for protobuf gets native buckets in addition to the
// classic ones, in every histogram and with the requested resolution.
func TestNativeHistograms(t *testing.T) {
	m := busy()
	m.Appended(700*time.Microsecond, nil)
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", "application/vnd.google.protobuf;"+
		"proto=io.prometheus.client.MetricFamily;encoding=delimited")
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, r)
	decoder := expfmt.NewDecoder(w.Body, expfmt.ResponseFormat(w.Result().Header))
	seen := 0
	for {
		var f dto.MetricFamily
		if err := decoder.Decode(&f); err != nil {
			break
		}
		if f.GetType() != dto.MetricType_HISTOGRAM || f.GetName()[:8] != "webhook_" {
			continue
		}
		for _, metric := range f.GetMetric() {
			h := metric.GetHistogram()
			if h.GetSampleCount() == 0 {
				continue
			}
			seen++
			if h.GetSchema() < 3 || len(h.GetPositiveSpan()) == 0 || len(h.GetBucket()) == 0 {
				t.Errorf("%s has schema %d, %d spans and %d classic buckets", f.GetName(), h.GetSchema(),
					len(h.GetPositiveSpan()), len(h.GetBucket()))
			}
		}
	}
	if seen < 5 {
		t.Errorf("%d histograms have observations, want five at least", seen)
	}
}

// TestOperating: the gauges show what guard, holdings and pool return, and are absent without them.
func TestOperating(t *testing.T) {
	c := well()
	c.Guard = func() guard.Status {
		return guard.Status{Breaker: guard.Recovering, AdmittedPercent: 40, Opened: 3, InFlight: 5,
			InFlightLimit: 100, BodyMemory: 4096, BodyMemoryLimit: 1 << 20,
			Signals: []guard.SignalStatus{
				{Name: guard.SignalDepth, Value: 45, Known: true, Limit: 90, Nearness: 0.5},
				{Name: guard.SignalLag, Value: 3, Known: true},
				{Name: guard.SignalP95, Value: 7, Limit: 10, Nearness: 0.7},
			}}
	}
	c.Holdings = func() Holdings {
		return Holdings{Owners: slices.Repeat([]int{1, 2}, 8),
			LeasesLost: 2}
	}
	c.Pool = func() Pool {
		return Pool{Acquired: 3, Idle: 4, Total: 8, Max: 10, Waits: 9, Waited: 1500 * time.Millisecond}
	}
	m := New(c)
	m.Appended(time.Millisecond, nil)
	m.Appended(time.Millisecond, fmt.Errorf("wrapped: %w", hookgate.ErrFull))
	m.Appended(time.Millisecond, errors.New("disk"))
	source := m.Source("github")
	source.Count(202)
	source.Count(202)
	source.Count(401)
	m.Refused(ReasonBreaker, 503)
	m.Refused("", 503)
	m.Refused("", 401)
	m.Refused("", 418)
	m.Fenced()
	for n := range MaxSources + 5 {
		m.SequenceGap(fmt.Sprint("source-", n))
		m.SequenceInversion(fmt.Sprint("source-", n))
	}
	e := scrape(t, m)
	e.want(t, map[string]float64{
		`webhook_breaker_state{state="closed"}`:                      0,
		`webhook_breaker_state{state="open"}`:                        0,
		`webhook_breaker_state{state="recovering"}`:                  1,
		`webhook_breaker_admitted_ratio`:                             0.4,
		`webhook_breaker_openings_total`:                             3,
		`webhook_guard_value{signal="queue_depth_percent"}`:          45,
		`webhook_guard_nearness_ratio{signal="queue_depth_percent"}`: 0.5,
		`webhook_guard_value{signal="store_lag_seconds"}`:            3,
		`webhook_in_flight`:                                          5,
		`webhook_in_flight_limit`:                                    100,
		`webhook_body_memory_bytes`:                                  4096,
		`webhook_body_memory_limit_bytes`:                            1 << 20,
		`webhook_partitions_owned`:                                   16,
		`webhook_leases_lost_total`:                                  2,
		`webhook_store_pool_connections{state="acquired"}`:           3,
		`webhook_store_pool_connections{state="idle"}`:               4,
		`webhook_store_pool_connections{state="opening"}`:            1,
		`webhook_store_pool_max`:                                     10,
		`webhook_store_pool_waits_total`:                             9,
		`webhook_store_pool_wait_seconds_total`:                      1.5,
		`webhook_append_latency_ms_count{outcome="appended"}`:        1,
		`webhook_append_latency_ms_count{outcome="full"}`:            1,
		`webhook_append_latency_ms_count{outcome="failed"}`:          1,
		`webhook_ingest_total{source="github",status="202"}`:         2,
		`webhook_ingest_total{source="github",status="401"}`:         1,
		`webhook_refusals_total{reason="breaker"}`:                   1,
		`webhook_refusals_total{reason="not_durable"}`:               1,
		`webhook_refusals_total{reason="unauthenticated"}`:           1,
		`webhook_refusals_total{reason="other"}`:                     1,
		`webhook_refusals_total{reason="queue_full"}`:                0,
		`webhook_fenced_total`:                                       1,
		`webhook_sequence_gaps_total{source="source-0"}`:             1,
		`webhook_sequence_gaps_total{source="other"}`:                5,
		`webhook_sequence_inversions_total{source="other"}`:          5,
		`webhook_queue_degraded`:                                     0,
	})
	for _, name := range []string{`webhook_guard_nearness_ratio{signal="store_lag_seconds"}`,
		`webhook_guard_value{signal="ingest_p95_ms"}`} {
		if value, ok := e.samples[name]; ok {
			t.Errorf("%s is %v although it cannot be known", name, value)
		}
	}
	bare := scrape(t, New(well()))
	for _, name := range []string{"webhook_in_flight", "webhook_partitions_owned",
		"webhook_store_pool_max"} {
		if _, ok := bare.samples[name]; ok {
			t.Errorf("%s is shown by a gate that has none", name)
		}
	}
}
