package certify

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// phaseResult is the result of judging the folder of a phase.
type phaseResult struct {
	summary  Summary
	criteria []Criterion
	derived  map[string]any // by file name
	figures  *figures
	// acknowledged is the number of events. tracedEvents and tracedDuplicates count the requests with
	// a complete trail, by its end.
	acknowledged                   int
	tracedEvents, tracedDuplicates int64
}

// errorLine is an entry of the error budget: an attempt that was not accepted.
type errorLine struct {
	Line      int       `json:"line"`
	MessageID string    `json:"messageId"`
	RequestID string    `json:"requestId,omitempty"`
	At        time.Time `json:"at"`
	Status    int       `json:"status"`
	Error     string    `json:"error"`
}

// budget is error-budget.json.
type budget struct {
	Requests      int     `json:"requests"`
	BudgetPercent float64 `json:"budgetPercent"`
	// Budget is the number of requests that may fail, Consumed the number that did, RatePercent
	// their share, and Left the rest of the budget.
	Budget      float64     `json:"budget"`
	Consumed    int         `json:"consumed"`
	Left        float64     `json:"left"`
	RatePercent float64     `json:"ratePercent"`
	Errors      []errorLine `json:"errors"`
}

// maxErrors bounds the errors that the budget names; the ledger has all.
const maxErrors = 10_000

// percentile is a point of a curve.
type percentile struct {
	Percentile float64 `json:"percentile"`
	MS         float64 `json:"ms"`
}

// histograms is histograms.json.
type histograms struct {
	// Latency counts from when a request was due, Service from when it was sent, Lag from due to
	// sent.
	Latency []percentile `json:"latency"`
	Service []percentile `json:"service"`
	Lag     []percentile `json:"lag"`
	// Server is the growth of the target's own histogram of POST with 202, Batches that of the
	// records per transaction.
	Server  *histogram `json:"server,omitempty"`
	Batches *histogram `json:"batches,omitempty"`
}

// measured is the result of one pass over the ledger.
type measured struct {
	account               *account
	latency, service, lag *hdrhistogram.Histogram // microseconds
	requests, accepted    int
	unknown               int
	firstDue, lastEnd     time.Time
	budget                budget
	answers               answerReport
	dates                 []int64 // offsets of the dates of answers, in microseconds
	overTime              *series
}

const longest = time.Hour

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longest.Microseconds(), 3)
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	// within the bounds, so there is no error
	h.RecordValue(min(max(d, 0), longest).Microseconds())
}

func ms(h *hdrhistogram.Histogram, quantile float64) float64 {
	return round(float64(h.ValueAtQuantile(quantile)) / 1000)
}

// measure reads the ledger.
func measure(dir string, source string, run phaseRun, limits Phase) (*measured, error) {
	m := &measured{account: newAccount(source), latency: newHistogram(), service: newHistogram(),
		lag:      newHistogram(),
		overTime: newSeries(run.Started, run.Ended), budget: budget{BudgetPercent: limits.ErrorPercent,
			Errors: []errorLine{}}}
	for a, err := range readLedger(filepath.Join(dir, ledgerFile)) {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ledgerFile, err)
		}
		if err := m.account.add(&a); err != nil {
			return nil, err
		}
		m.requests++
		m.answers.check(&a)
		if us, ok := dateOffset(&a); ok {
			m.dates = append(m.dates, us)
		}
		ended := end(&a)
		if m.firstDue.IsZero() || a.Due.Before(m.firstDue) {
			m.firstDue = a.Due
		}
		if ended.After(m.lastEnd) {
			m.lastEnd = ended
		}
		if a.CutOff { // by the client, so the target is not at fault
			m.unknown++
			continue
		}
		latency := time.Duration(a.LatencyUS) * time.Microsecond
		record(m.latency, latency)
		m.overTime.add(ended, latency, a.Accepted())
		if !a.Held {
			record(m.lag, a.Sent.Sub(a.Due))
		}
		if a.Status == 0 {
			m.unknown++
		}
		if a.Accepted() {
			m.accepted++
			record(m.service, ended.Sub(a.Sent))
		} else if m.budget.Consumed++; len(m.budget.Errors) < maxErrors {
			m.budget.Errors = append(m.budget.Errors, errorLine{a.Line, a.MessageID, a.RequestID, a.Sent,
				a.Status, a.Error})
		}
	}
	m.answers.checkIDs(m.account)
	b := &m.budget
	b.Requests, b.Budget = m.requests, round(float64(m.requests)*limits.ErrorPercent/100)
	b.Left, b.RatePercent = round(b.Budget-float64(b.Consumed)), percent(b.Consumed, m.requests)
	return m, nil
}

func percent(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return round(100 * float64(part) / float64(whole))
}

// judgePhase judges the folder of a phase.
func judgePhase(dir, name string, p Profile, limits Phase) (*phaseResult, error) {
	var run phaseRun
	if err := readJSON(filepath.Join(dir, phaseFile), &run); err != nil {
		return nil, err
	}
	m, err := measure(dir, p.Source, run, limits)
	if err != nil {
		return nil, err
	}
	store, places, err := checkStored(m.account,
		readLines[storedEvent](filepath.Join(dir, eventsFile)))
	if err != nil {
		return nil, err
	}
	if store.Changed, err = checkAgain(m.account,
		readLines[storedEvent](filepath.Join(dir, eventsFile)),
		readLines[reading](filepath.Join(dir, againFile))); err != nil {
		return nil, err
	}
	if err := checkLineageAgain(m.account, &store.Changed,
		readLines[trail](filepath.Join(dir, lineageFile)),
		readLines[trailAgain](filepath.Join(dir, lineageAgainFile))); err != nil {
		return nil, err
	}
	lineage, err := checkLineage(m.account, readLines[trail](filepath.Join(dir, lineageFile)))
	if err != nil {
		return nil, err
	}
	duplicates, order := checkDuplicates(m.account), checkOrder(m.account, places)
	times := checkTimes(m.account, m.dates, run.Read, p)
	before, after, metricsErr := readScrapes(dir)
	if run.UnreadMetrics != "" {
		metricsErr = errors.New(run.UnreadMetrics)
	}

	j := &judging{name: name, profile: p, limits: limits, run: run}
	j.load(m)
	j.stored(m, &store, duplicates, order, lineage, &times)
	h := histograms{Latency: curve(m.latency), Service: curve(m.service), Lag: curve(m.lag)}
	if metricsErr != nil {
		j.noMetrics(metricsErr)
	} else {
		h.Server = grown(before, after, "webhook_http_latency_ms", "method=POST", "status=202")
		h.Batches = grown(before, after, "webhook_batch_records")
		j.metrics(m, &store, &duplicates, &lineage, before, after, &h)
	}
	var delivered *deliveryCheck
	if name == Deliver {
		if delivered, err = checkDelivery(dir, p.Source, run.Prefix, limits, m); err != nil {
			return nil, err
		}
		j.delivery(delivered)
	}
	if run.Stopped == killed {
		j.unfinishedLedger(&store)
	}
	depth, err := readDepth(filepath.Join(dir, depthFile))
	if err != nil {
		return nil, err
	}
	seconds := m.lastEnd.Sub(m.firstDue).Seconds()
	s := Summary{
		Phase: name, Requests: m.requests, Events: len(m.account.events), Accepted: m.accepted,
		Repeats: duplicates.Answered, Errors: m.budget.Consumed, Unknown: m.unknown,
		Stored: store.StoredEvents, LossSeen: lossSeen(store.AcknowledgedEvents),
		Seconds: round(seconds), P50: ms(m.latency, 50), P95: ms(m.latency, 95), P99: ms(m.latency, 99),
		Max:    ms(m.latency, 100),
		LagP99: ms(m.lag, 99), LagMax: ms(m.lag, 100), Drain: round(run.DrainSeconds),
		Status: statusOf(j.criteria),
	}
	if seconds > 0 {
		s.Rate = round(float64(m.accepted) / seconds)
	}
	tracedEvents, tracedDuplicates := m.account.traced()
	r := &phaseResult{
		tracedEvents: tracedEvents, tracedDuplicates: tracedDuplicates,
		summary: s, criteria: j.criteria, acknowledged: store.AcknowledgedEvents,
		derived: map[string]any{
			histogramsFile: h, budgetFile: m.budget, answersFile: m.answers, timesFile: times,
			duplicatesFile: duplicates, orderFile: order,
			storeFile: struct {
				storeReport
				Lineage lineageReport `json:"lineage"`
			}{store, lineage},
		},
		figures: &figures{latency: m.latency, service: m.service, server: h.Server, batches: h.Batches,
			overTime: m.overTime, depth: depth, limits: limits},
	}
	if delivered != nil {
		r.summary.Delivery, r.figures.delivery = delivered.summary(), delivered.plots()
		r.derived[deliveredReport] = delivered.deliveryReport
	}
	return r, nil
}

func readScrapes(dir string) (before, after *scrape, err error) {
	for file, to := range map[string]**scrape{beforeFile: &before, afterFile: &after} {
		if *to, err = readScrape(filepath.Join(dir, file)); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return before, after, nil
}

// curve returns the percentiles of a histogram, denser towards the end.
func curve(h *hdrhistogram.Histogram) (points []percentile) {
	if h.TotalCount() == 0 {
		return nil
	}
	for _, q := range []float64{0, 10, 25, 50, 75, 90, 95, 96, 97, 98, 99, 99.5, 99.9, 99.99, 100} {
		points = append(points, percentile{q, ms(h, q)})
	}
	return points
}
