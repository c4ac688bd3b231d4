package certify

import (
	"fmt"
	"strconv"
)

// Number is a number of a phase that can be set by its name.
type Number struct {
	Name, Usage string
	of          func(*Phase) any // *float64 or *int
}

// Numbers are the numbers of a phase.
var Numbers = []Number{
	{"events", "`number` of different events", func(p *Phase) any { return &p.Events }},
	{"duplicates", "repetitions in addition, in `percent` of the events",
		func(p *Phase) any { return &p.Duplicates }},
	{"concurrency", "`number` of connections", func(p *Phase) any { return &p.Concurrency }},
	{"rate", "requests due `per second`; 0 is as fast as the connections allow",
		func(p *Phase) any { return &p.Rate }},
	{"keys", "`number` of ordering keys", func(p *Phase) any { return &p.Keys }},
	{"size", "size of a body in `bytes`", func(p *Phase) any { return &p.Size }},
	{"max-size", "size in `bytes` of the largest of a few large bodies; 0 sends none",
		func(p *Phase) any { return &p.MaxSize }},
	{"gzip", "share of events that are sent compressed, in `percent`",
		func(p *Phase) any { return &p.Gzip }},
	{"timeout", "`seconds` to wait for one answer", func(p *Phase) any { return &p.TimeoutSeconds }},
	{"seconds", "`seconds` to send for, instead of --events; of each step of a ramp",
		func(p *Phase) any { return &p.Seconds }},
	{"acceptance", "least share of events acknowledged, in `percent`",
		func(p *Phase) any { return &p.AcceptancePercent }},
	{"error-rate", "greatest share of requests not answered 202, in `percent`",
		func(p *Phase) any { return &p.ErrorPercent }},
	{"p95", "greatest P95 in `milliseconds`; 0 for no limit",
		func(p *Phase) any { return &p.P95MS }},
	{"p99", "greatest P99 in `milliseconds`; 0 for no limit",
		func(p *Phase) any { return &p.P99MS }},
	{"max", "greatest latency of any answer in `milliseconds`; 0 for no limit",
		func(p *Phase) any { return &p.MaxMS }},
	{"drain", "`seconds` until the queue must be empty",
		func(p *Phase) any { return &p.DrainSeconds }},
	{"mean-batch", "least mean `number` of records in a transaction; 0 for no limit",
		func(p *Phase) any { return &p.MeanBatch }},
	{"lag-p99", "greatest P99 of the client's own lag in `milliseconds`; above it latencies are INVALID",
		func(p *Phase) any { return &p.LagP99MS }},
	{"counter-tolerance", "allowed difference of the counters, in `percent`",
		func(p *Phase) any { return &p.CounterPercent }},
	{"latency-gap", "allowed difference between the target's P95 and the client's, in " +
		"`milliseconds`",
		func(p *Phase) any { return &p.LatencyGapMS }},
}

// Set sets the number of a phase.
func (n Number) Set(p *Phase, text string) (err error) {
	switch to := n.of(p).(type) {
	case *float64:
		*to, err = strconv.ParseFloat(text, 64)
	case *int:
		*to, err = strconv.Atoi(text)
	}
	if err != nil {
		return fmt.Errorf("%q is not such a number", text)
	}
	return nil
}
