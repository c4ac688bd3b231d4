package dashboard

import (
	"math"
	"time"

	"github.com/hookgate/hookgate/internal/metrics"
)

// wire is a State in JSON, for the scripts of the pages. Unknown numbers are null.
type wire struct {
	T           int64    `json:"t"` // in milliseconds of Unix
	Rate        float64  `json:"rate"`
	Taken       float64  `json:"taken"`
	Refused     float64  `json:"refused"`
	Unavailable float64  `json:"unavailable"`
	Duplicates  float64  `json:"duplicates"`
	P50         *float64 `json:"p50"`
	P95         *float64 `json:"p95"`
	P99         *float64 `json:"p99"`
	Depth       *int64   `json:"depth"`
	HighWater   int64    `json:"highWater"`
	Spooled     int64    `json:"spooled"`
	Lag         *float64 `json:"lag"`
	Stored      float64  `json:"stored"`
	Batch       float64  `json:"batch"`
	BatchMS     float64  `json:"batchMs"`
	Workers     int      `json:"workers"`
	Partitions  int      `json:"partitions"`
	// PartitionsAll are those of the queue, Partitions those that this process holds.
	PartitionsAll int          `json:"partitionsAll"`
	Owners        []int        `json:"owners"`
	Mode          string       `json:"mode"`
	Breaker       string       `json:"breaker"`
	Share         int          `json:"share"`
	InFlight      int64        `json:"inFlight"`
	InFlightMax   int64        `json:"inFlightMax"`
	Signals       []wireSignal `json:"signals"`
	Sources       []wireSource `json:"sources"`
	Answers       []StatusRate `json:"answers"`
	Events        int64        `json:"events"`
	DeadLetters   int64        `json:"deadLetters"`
	Problems      []Problem    `json:"problems"`
	Point         []any        `json:"point"` // the sample, as in a History
}

type wireSignal struct {
	Name     string   `json:"name"`
	Value    *float64 `json:"value"`
	Limit    float64  `json:"limit"`
	Nearness float64  `json:"nearness"`
	Raised   bool     `json:"raised"`
}

type wireSource struct {
	Name        string  `json:"name"`
	Taken       float64 `json:"taken"`
	Refused     float64 `json:"refused"`
	Unavailable float64 `json:"unavailable"`
	Last        *string `json:"last"`
}

func (s *State) wire() wire {
	w := wire{
		T: s.At.UnixMilli(), Rate: tenths(s.Rate), Taken: tenths(s.TakenRate),
		Refused: tenths(s.RefusedRate), Unavailable: tenths(s.UnavailableRate),
		Duplicates: tenths(s.DuplicateRate), HighWater: s.Queue.HighWater, Spooled: s.Queue.Spooled,
		Stored: tenths(s.StoredRate),
		Batch:  tenths(s.Batch), BatchMS: tenths(s.BatchMillis), Workers: s.Workers,
		Partitions: metrics.Holdings{Owners: s.Owners}.Partitions(), PartitionsAll: s.Queue.Partitions,
		Owners: s.Owners, Mode: string(s.Mode),
		Breaker: string(s.Guard.Breaker), Share: s.Guard.AdmittedPercent, InFlight: s.Guard.InFlight,
		InFlightMax: s.Guard.InFlightLimit,
		Signals:     []wireSignal{}, Sources: []wireSource{}, Answers: []StatusRate{},
		Events: s.Store.Counts.Events, DeadLetters: s.Store.Counts.DeadLetters,
		Problems: s.Problems(), Point: s.Sample.point(),
	}
	if s.Latency.Count > 0 {
		p50, p95, p99 := millis(s.Latency.P50), millis(s.Latency.P95), millis(s.Latency.P99)
		w.P50, w.P95, w.P99 = &p50, &p95, &p99
	}
	if s.Depth >= 0 {
		lag := tenths(s.Lag.Seconds())
		w.Depth, w.Lag = &s.Depth, &lag
	}
	for _, signal := range s.Guard.Signals {
		one := wireSignal{Name: signal.Name, Limit: signal.Limit, Nearness: signal.Nearness,
			Raised: signal.Raised}
		if signal.Known {
			one.Value = &signal.Value
		}
		w.Signals = append(w.Signals, one)
	}
	for _, a := range s.Answers {
		w.Answers = append(w.Answers, StatusRate{a.Status, tenths(a.Rate)})
	}
	for _, source := range s.Sources {
		one := wireSource{source.Name, tenths(source.Taken), tenths(source.Refused),
			tenths(source.Unavailable), nil}
		if !source.Last.IsZero() {
			last := source.Last.UTC().Format(time.RFC3339)
			one.Last = &last
		}
		w.Sources = append(w.Sources, one)
	}
	return w
}

// point is a sample as charts take it: time in seconds, taken, refused, unavailable, P50, P95, P99,
// depth, lag, stored.
func (s *Sample) point() []any {
	p := []any{s.At.Unix(), tenths(s.Taken), tenths(s.Refused), tenths(s.Unavailable), nil, nil, nil,
		nil, nil, tenths(s.Stored)}
	if s.Latency.Count > 0 {
		p[4], p[5], p[6] = millis(s.Latency.P50), millis(s.Latency.P95), millis(s.Latency.P99)
	}
	if s.Depth >= 0 {
		p[7], p[8] = s.Depth, tenths(s.Lag.Seconds())
	}
	return p
}

func tenths(x float64) float64 { return math.Round(10*x) / 10 }

func millis(d time.Duration) float64 {
	return math.Round(float64(d)/float64(10*time.Microsecond)) / 100
}
