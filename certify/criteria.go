package certify

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
)

// judging makes the criteria of a phase.
type judging struct {
	name     string
	profile  Profile
	limits   Phase
	run      phaseRun
	criteria []Criterion
	// lagging means that the client's own delay hides that of the target.
	lagging bool
}

// add decides a criterion and adds it.
func (j *judging) add(id, text, relation string, limit, value float64, unit,
	evidence string) *Criterion {
	c := Criterion{ID: j.name + "/" + id, Text: text, Relation: relation, Limit: limit, Value: value,
		Unit: unit, Evidence: j.name + "/" + evidence}
	c.decide()
	j.criteria = append(j.criteria, c)
	return &j.criteria[len(j.criteria)-1]
}

// none adds a criterion that allows no violation.
func (j *judging) none(id, text string, v violations, unit, evidence string) *Criterion {
	c := j.add(id, text, "=", 0, float64(v.Count), unit, evidence)
	c.Findings = v.First[:min(len(v.First), maxFindings)]
	return c
}

// load judges what the client measured while it sent.
func (j *judging) load(m *measured) {
	l := j.limits
	if c := j.add("sent", "everything planned was sent and has its outcome", "=",
		float64(j.run.Planned), float64(m.requests), "requests", ledgerFile); c.Status != Pass ||
		j.run.Stopped != "" {
		c.invalidate("the run is incomplete: %s",
			orElse(j.run.Stopped, "the ledger does not have every request"))
	} else if m.requests == 0 {
		c.invalidate("nothing was sent")
	}
	lag := j.add("client_lag", "P99 of the client's own delay behind its schedule", "<=", l.LagP99MS,
		ms(m.lag, 99), "ms", histogramsFile)
	j.lagging = lag.Status != Pass
	if j.lagging {
		lag.invalidate("the client could not keep its schedule, so its measurements say nothing about " +
			"the target; run it on a machine with more free CPU time")
	}
	events, tried := 0, 0
	for i := range m.account.events {
		e := &m.account.events[i]
		if e.accepted {
			events++
		}
		if !m.account.requests[e.last].cutOff {
			tried++
		}
	}
	j.add("acceptance", "events acknowledged", ">=", l.AcceptancePercent, percent(events, tried), "%",
		ledgerFile)
	errors := j.add("errors", "requests that were not answered 202", "<=", l.ErrorPercent,
		m.budget.RatePercent, "%", budgetFile)
	for _, e := range m.budget.Errors[:min(len(m.budget.Errors), maxFindings)] {
		errors.find("%s (line %d): status %d, %s", e.MessageID, e.Line, e.Status, e.Error)
	}
	answered := func(status int) bool {
		return slices.ContainsFunc(m.budget.Errors, func(e errorLine) bool { return e.Status == status })
	}
	if l.Gzip > 0 && answered(http.StatusUnsupportedMediaType) {
		errors.Note = "the target refused a body, maybe because it was compressed: real senders " +
			"compress, and gzip of the phase is their share in percent"
	}
	if answered(http.StatusRequestEntityTooLarge) {
		errors.Note = fmt.Sprintf("a body was too large for the target: set max_size of the phase, "+
			"which is %d, below its http.max_body", l.MaxSize)
	}
	for _, p := range []struct {
		id       string
		quantile float64
		limit    float64
	}{{"p95", 95, l.P95MS}, {"p99", 99, l.P99MS}, {"max", 100, l.MaxMS}} {
		if p.limit == 0 {
			continue
		}
		text := fmt.Sprintf("P%.0f of the latency, from when a request was due to its answer", p.quantile)
		if p.quantile == 100 {
			text = "greatest latency, from when a request was due to its answer"
		}
		c := j.add(p.id, text, "<=", p.limit, ms(m.latency, p.quantile), "ms", histogramsFile)
		if j.lagging {
			c.invalidate("the client was late: see client_lag")
		}
	}
}

// stored judges what was read back.
func (j *judging) stored(m *measured, s *storeReport, d duplicateReport, o orderReport,
	l lineageReport, t *timesReport) {
	drained := j.add("drained", "the queue was empty after the last answer", "<=",
		j.limits.DrainSeconds, j.run.DrainSeconds, "s", depthFile)
	if !j.run.Drained {
		drained.Status, drained.Note = Fail, "the queue was not empty in that time"
		if !j.profile.Exclusive && s.Missing.Count == 0 && s.AcknowledgedEvents > 0 &&
			j.run.Unread == "" {
			drained.Status, drained.Note = Pass,
				"others send too, so the queue was not empty; everything acknowledged here is stored"
		}
	}
	first := len(j.criteria)
	persisted := j.none("persisted", "acknowledged events that are not stored", s.Missing, "events",
		storeFile)
	if persisted.Status == Pass {
		persisted.Note = "with a probability of 95%, the phase would have seen a loss of " +
			lossText(lossSeen(s.AcknowledgedEvents)) + " events or more"
	}
	j.none("stored_once", "events stored more than once", s.Twice, "events", storeFile)
	foreign := j.none("foreign", "stored events that were not sent or were refused", s.Foreign,
		"events", storeFile)
	if foreign.Status == Fail && j.profile.Exclusive {
		foreign.Note = "if others send to the gate meanwhile, certify it with --exclusive=false"
	}
	j.none("content", "stored events that are not byte for byte, and field for field, what was "+
		"sent", s.Different, "events", storeFile)
	j.none("unchanged", "events and trails that read differently, or are new, the second time",
		s.Changed, "events", againFile)
	j.none("order", "events stored behind one of their key that was sent after them", o.Inversions,
		"events", orderFile)
	j.times(t)
	lineage := j.add("lineage", "acknowledged requests with a complete trail in time order", ">=", 100,
		percent(l.Complete, l.Requests), "%", lineageFile)
	lineage.Findings = l.Violations.First[:min(len(l.Violations.First), maxFindings)]
	if l.Violations.Count > 0 {
		lineage.Status = Fail
	}
	if l.Requests == 0 {
		lineage.Status, lineage.Note = Invalid, "no acknowledged event is stored"
	}
	if j.run.Unread != "" {
		for i := range j.criteria[first:] {
			j.criteria[first+i].invalidate("the target could not be read back: %s", j.run.Unread)
		}
	}
	j.none("idempotency", "answers that are wrong about a duplicate, or about its first request",
		d.Violations, "answers", duplicatesFile)
	j.idempotencyNote(m, d)
	j.none("answers", "answers that differ from the contract", m.answers.Violations, "answers",
		answersFile)
}

func (j *judging) idempotencyNote(m *measured, d duplicateReport) {
	if j.limits.Duplicates > 0 && d.Answered == 0 && len(d.Repeats) > 0 && m.accepted > 0 {
		j.criteria[len(j.criteria)-1].Note = "no answer said duplicate"
	}
	if d.FoundLater > 0 {
		j.criteria[len(j.criteria)-1].Note = fmt.Sprintf("%d duplicates were answered as new while the "+
			"target spooled, and found later", d.FoundLater)
	}
}

// unfinishedLedger invalidates the criteria that need a complete ledger. A client that was killed
// may have sent requests that its ledger does not have, and the target is not at fault for that.
func (j *judging) unfinishedLedger(s *storeReport) {
	ids := []string{"foreign", "idempotency", "answers", "lineage", "counters", "server_latency",
		"errors", "acceptance"}
	if s.Different.Count == s.unmade {
		ids = append(ids, "content")
	}
	for i := range j.criteria {
		c := &j.criteria[i]
		_, id, _ := strings.Cut(c.ID, "/")
		if c.Status == Fail && slices.Contains(ids, id) {
			c.invalidate("the client was killed, so its ledger may lack the last requests")
		}
	}
}

// noMetrics invalidates the criteria that need metrics.
func (j *judging) noMetrics(err error) {
	for _, id := range []string{"counters", "server_latency"} {
		j.add(id, "the target's metrics agree with what the client saw", "=", 0, 0, "", afterFile).
			invalidate("the metrics cannot be read: %v", err)
	}
	if j.limits.MeanBatch > 0 {
		j.add("batching", "mean records in a transaction of the store", ">=", j.limits.MeanBatch, 0,
			"records", afterFile).invalidate("the metrics cannot be read: %v", err)
	}
}

// metrics compares the metrics of the target with what the client saw.
func (j *judging) metrics(m *measured, s *storeReport, d *duplicateReport, l *lineageReport,
	before, after *scrape, h *histograms) {
	j.counters(m, s, d, before, after, h)

	low, high, client := 0.0, math.Inf(1), ms(m.service, 95)
	if h.Server != nil && h.Server.Count > 0 {
		low, high = h.Server.quantile(0.95)
	}
	gap := max(client-high, low-client, 0)
	g := j.add("server_latency", "difference between the P95 of the target's histogram and the "+
		"client's from sending", "<=", j.limits.LatencyGapMS, gap, "ms", histogramsFile)
	switch {
	case h.Server == nil || h.Server.Count == 0 || len(h.Server.Counts) == 0:
		g.invalidate("the target has no histogram webhook_http_latency_ms of POST with 202")
	case j.lagging && g.Status != Pass:
		g.invalidate("the client was late: see client_lag")
	default:
		g.Note = fmt.Sprintf("target between %g and %g ms, client %g ms", low, high, client)
	}
	switch {
	case after.direct:
		j.add("batching", "mean requests in a transaction of the store", ">=", 0, l.meanGroup(),
			"requests", storeFile).
			Note = "reported only: the store takes the requests, and each is stored before its 202"
	case j.limits.MeanBatch > 0:
		mean := 0.0
		if h.Batches != nil && h.Batches.Count > 0 {
			mean = h.Batches.Sum / h.Batches.Count
		}
		b := j.add("batching", "mean records in a transaction of the store", ">=", j.limits.MeanBatch,
			mean, "records", histogramsFile)
		if h.Batches == nil {
			b.invalidate("the target has no histogram webhook_batch_records")
		}
	}
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}
