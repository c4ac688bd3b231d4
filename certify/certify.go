// Package certify answers one question about a running gate: may it go to production? It is an
// outside client: it sends, reads everything back over HTTP, compares, and keeps what it saw as
// evidence.
//
//	profile ─► plan ─► load.Replay ─► gate ─► read API, health, /metrics
//	                      │                      │
//	                 ledger.ndjson     events, lineage, samples, scrapes      (a folder for each phase)
//	                      └──────────┬───────────┘
//	                               Judge ─► criteria ─► verdict.json, reports, report.html ─► manifest, signature
//
// Judge sees files alone, so that anyone who has the folder can judge it again.
package certify

import (
	"fmt"
	"math"
	"strconv"
)

// Status is the outcome of a criterion, and of a certification.
type Status string

const (
	// Pass says that the criterion is met.
	Pass Status = "PASS"
	// Fail says that the target does not meet it.
	Fail Status = "FAIL"
	// Invalid says that it could not be measured, whatever the reason; it never counts as met.
	Invalid Status = "INVALID"
)

// Criterion is one thing that was asked of the target and what came out.
type Criterion struct {
	// ID is its phase and its name, such as full/p95. Criteria of the whole certification have no
	// phase.
	ID string `json:"id"`
	// Text says what is asked.
	Text string `json:"text"`
	// Relation is how Value must stand to Limit: "<=", ">=" or "=".
	Relation string  `json:"relation"`
	Limit    float64 `json:"limit"`
	Value    float64 `json:"value"`
	// Margin is how far Value is on the right side of Limit, negative on the wrong one.
	Margin float64 `json:"margin"`
	// Unit of the three: ms, s, %, or what is counted.
	Unit   string `json:"unit"`
	Status Status `json:"status"`
	// Note says why it is what it is, if the figures do not.
	Note string `json:"note,omitempty"`
	// Findings are the first few violations, each in a sentence.
	Findings []string `json:"findings,omitempty"`
	// Evidence is the file of the bundle that has the details.
	Evidence string `json:"evidence"`
}

// maxFindings bounds what a criterion tells; files of the bundle have the rest.
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

// round keeps six digits behind the point, so that a figure reads the same wherever it was
// computed.
func round(v float64) float64 { return math.Round(v*1e6) / 1e6 }

// invalidate says that the criterion could not be measured.
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
	if unit == "%" {
		return text + "%"
	}
	if unit == "ms" || unit == "s" {
		return text + " " + unit
	}
	return text
}

// Verdict is what verdict.json holds.
type Verdict struct {
	Status Status `json:"status"`
	// Application and Target name what was certified.
	Application string `json:"application"`
	Target      string `json:"target"`
	// RunID begins every message id that was made for this certification.
	RunID      string `json:"runId"`
	StartedAt  string `json:"startedAt"`
	FinishedAt string `json:"finishedAt"`
	// Version is what the target says of itself.
	Version  string      `json:"version"`
	Phases   []Summary   `json:"phases"`
	Criteria []Criterion `json:"criteria"`
}

// Summary is a phase in figures.
type Summary struct {
	Phase    string `json:"phase"`
	Requests int    `json:"requests"`
	Events   int    `json:"events"`
	Accepted int    `json:"acceptedRequests"`
	Repeats  int    `json:"duplicates"`
	Errors   int    `json:"errors"`
	Unknown  int    `json:"unknownOutcomes"`
	Stored   int    `json:"storedEvents"`
	// Seconds is the time from the first due to the last answer, Rate the accepted requests a second.
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"rate"`
	P50     float64 `json:"p50Ms"`
	P95     float64 `json:"p95Ms"`
	P99     float64 `json:"p99Ms"`
	Max     float64 `json:"maxMs"`
	LagP99  float64 `json:"lagP99Ms"`
	LagMax  float64 `json:"lagMaxMs"`
	Drain   float64 `json:"drainSeconds"`
	Status  Status  `json:"status"`
}

// statusOf sums criteria up: one that failed decides, then one that could not be measured. None at
// all is not a pass.
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
