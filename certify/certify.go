// Package certify answers one question about a running gate: may it go to production? It is an
// outside client. It sends webhooks, reads everything back over HTTP, compares, and keeps what it
// saw as evidence.
//
//	profile ─► plan ─► load.Replay ─► gate ─► read API, health, /metrics
//	                      │                      │
//	                 ledger.ndjson     events, lineage, samples, scrapes      (a folder for each phase)
//	                      └──────────┬───────────┘
//	                               Judge ─► criteria ─► verdict.json, reports, report.html ─► manifest, signature
//
// Judge reads only files, so anyone who has the folder can judge it again.
package certify

import (
	"fmt"
	"math"
	"strconv"
)

// Status is the outcome of a criterion, or of a certification.
type Status string

const (
	// Pass means that the criterion is met.
	Pass Status = "PASS"
	// Fail means that the target does not meet it.
	Fail Status = "FAIL"
	// Invalid means that it could not be measured for any reason. It never counts as met.
	Invalid Status = "INVALID"
)

// Criterion is one requirement, and how the target met it.
type Criterion struct {
	// ID is the phase and the name, such as full/p95. Criteria of the whole certification have no
	// phase.
	ID string `json:"id"`
	// Text is the requirement.
	Text string `json:"text"`
	// Relation is the relation that Value must have to Limit: "<=", ">=" or "=".
	Relation string  `json:"relation"`
	Limit    float64 `json:"limit"`
	Value    float64 `json:"value"`
	// Margin is the distance of Value from Limit, negative if the criterion is not met.
	Margin float64 `json:"margin"`
	// Unit is the unit of all three: ms, s, % or what is counted.
	Unit   string `json:"unit"`
	Status Status `json:"status"`
	// Note is an explanation, if the figures need one.
	Note string `json:"note,omitempty"`
	// Findings are the first violations, one sentence each.
	Findings []string `json:"findings,omitempty"`
	// Evidence is the file of the bundle with the details.
	Evidence string `json:"evidence"`

	// contradicts is true for a criterion that no honest client can miss, for any answers of the
	// target.
	contradicts bool
}

// maxFindings bounds the findings of a criterion; files of the bundle have the rest.
const maxFindings = 20

func (c *Criterion) find(format string, args ...any) {
	if len(c.Findings) < maxFindings {
		c.Findings = append(c.Findings, fmt.Sprintf(format, args...))
	}
}

// decide sets margin and status from relation, limit and value.
func (c *Criterion) decide() {
	c.Value, c.Limit = round(c.Value), round(c.Limit)
	switch c.Relation {
	case "<=":
		c.Margin = c.Limit - c.Value
	case ">=":
		c.Margin = c.Value - c.Limit
	default:
		c.Margin = 0 - math.Abs(c.Value-c.Limit)
	}
	c.Margin = round(c.Margin)
	c.Status = Pass
	if !(c.Margin >= 0) { // also NaN
		c.Status = Fail
	}
}

// round keeps six digits after the decimal point, so that a figure is the same wherever it was
// computed.
func round(v float64) float64 { return math.Round(v*1e6) / 1e6 }

// invalidate marks the criterion as not measured.
func (c *Criterion) invalidate(format string, args ...any) {
	c.Status, c.Note = Invalid, fmt.Sprintf(format, args...)
}

// LimitText is the limit with its relation and unit.
func (c *Criterion) LimitText() string {
	relation := map[string]string{"<=": "≤ ", ">=": "≥ ", "=": ""}[c.Relation]
	return relation + withUnit(c.Limit, c.Unit)
}

// ValueText is the value with its unit.
func (c *Criterion) ValueText() string { return withUnit(c.Value, c.Unit) }

// MarginText is the margin with its unit and sign.
func (c *Criterion) MarginText() string {
	if c.Margin > 0 {
		return "+" + withUnit(c.Margin, c.Unit)
	}
	return withUnit(c.Margin, c.Unit)
}

func withUnit(v float64, unit string) string {
	text := strconv.FormatFloat(v, 'f', -1, 64)
	if v != math.Trunc(v) {
		digits := 2
		if unit == "%" {
			digits = 3
		}
		text = strconv.FormatFloat(v, 'f', digits, 64)
	}
	if unit == "%" || unit == "/s" {
		return text + unit
	}
	if unit == "ms" || unit == "s" {
		return text + " " + unit
	}
	return text
}

// Verdict is the content of verdict.json.
type Verdict struct {
	Status Status `json:"status"`
	// Application and Target name what was certified.
	Application string `json:"application"`
	Target      string `json:"target"`
	// RunID begins every message id of this certification.
	RunID      string `json:"runId"`
	StartedAt  string `json:"startedAt"`
	FinishedAt string `json:"finishedAt"`
	// Version is the version that the target reports.
	Version string `json:"version"`
	// LossSeen is that of all phases together: see Summary.
	LossSeen float64     `json:"lossSeenPercent"`
	Phases   []Summary   `json:"phases"`
	Criteria []Criterion `json:"criteria"`
}

// Summary has the figures of a phase.
type Summary struct {
	Phase    string `json:"phase"`
	Requests int    `json:"requests"`
	Events   int    `json:"events"`
	Accepted int    `json:"acceptedRequests"`
	Repeats  int    `json:"duplicates"`
	Errors   int    `json:"errors"`
	Unknown  int    `json:"unknownOutcomes"`
	Stored   int    `json:"storedEvents"`
	// Seconds is the time from when the first request was due to the last answer, Rate the accepted
	// requests per second.
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"rate"`
	P50     float64 `json:"p50Ms"`
	P95     float64 `json:"p95Ms"`
	P99     float64 `json:"p99Ms"`
	Max     float64 `json:"maxMs"`
	LagP99  float64 `json:"lagP99Ms"`
	LagMax  float64 `json:"lagMaxMs"`
	Drain   float64 `json:"drainSeconds"`
	// LossSeen is the rate of loss, in percent of the events, that the phase would have seen with a
	// probability of 95%.
	LossSeen float64 `json:"lossSeenPercent"`
	Status   Status  `json:"status"`
	// Delivery is for the phase deliver.
	Delivery *DeliverySummary `json:"delivery,omitempty"`
}

// statusOf combines criteria: Fail if one failed, otherwise Invalid if one could not be measured.
// No criteria at all are Invalid.
func statusOf(criteria []Criterion) Status {
	status := Pass
	if len(criteria) == 0 {
		status = Invalid
	}
	for i := range criteria {
		switch s := criteria[i].Status; {
		case s == Fail:
			return Fail
		case s != Pass:
			status = Invalid
		}
	}
	return status
}
