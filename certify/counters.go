package certify

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

// eventsTotal and ingestTotal are the counters of the target that are compared.
const eventsTotal, ingestTotal = "webhook_events_total", "webhook_ingest_total"

// counters compares each counter of the target with what the client saw. Requests with unknown
// outcome may be counted or not.
func (j *judging) counters(m *measured, s *storeReport, d *duplicateReport, before, after *scrape,
	h *histograms) {
	c := j.add("counters", "difference between the target's counters and the client's", "<=",
		j.limits.CounterPercent, 0, "%", afterFile)
	unsure, unanswered, firsts, duplicates := 0, 0, 0, 0
	for i := range m.account.requests {
		q := &m.account.requests[i]
		switch {
		case q.duplicate:
			duplicates++
		case q.accepted:
			firsts++
		case q.unsure:
			unsure++
		}
		if q.status == 0 {
			unanswered++
		}
	}
	worst := 0.0
	compare := func(what string, counted float64, least, more int) {
		most := float64(least + more)
		if !j.profile.Exclusive {
			most = math.Inf(1)
		}
		off := max(float64(least)-counted, counted-most, 0)
		if off > 0 {
			c.find("%s: the target counts %.0f, the client %d%s", what, counted, least, unsureText(more))
		}
		worst = max(worst, percent(int(math.Ceil(off)), max(least, 1)))
	}
	events := func(status string) float64 {
		return counted(before, after, eventsTotal, "status="+status)
	}
	if d.Violations.Count == 0 { // otherwise the answers do not say which is which
		compare("requests accepted", events("accepted"), firsts, unsure)
		compare("requests that were duplicates", events("duplicate"), duplicates, unsure)
	}
	compare("requests accepted or duplicate", events("accepted")+events("duplicate"),
		firsts+duplicates, unsure)
	if h.Server != nil {
		compare("answers 202 to POST", h.Server.Count, m.accepted, unsure)
	}
	if j.run.Unread == "" {
		compare("events persisted", events("persisted"), s.StoredEvents, 0)
		compare("dead letters", events("dead_lettered"), 0,
			max(0, s.AcknowledgedEvents+unsure-s.StoredEvents))
	}
	answers := map[string]int{}
	for i := range m.account.requests {
		answers[strconv.Itoa(int(m.account.requests[i].status))]++
	}
	delete(answers, "0")
	source := "source=" + j.profile.Source
	for _, status := range after.labels(ingestTotal, source, "status") {
		answers[status] += 0
	}
	for _, status := range slices.Sorted(maps.Keys(answers)) {
		compare("answers "+status, counted(before, after, ingestTotal, source, "status="+status),
			answers[status], unanswered)
	}
	c.Value = worst
	c.decide()
}

func unsureText(n int) string {
	if n > 0 {
		return fmt.Sprintf(" (and %d of unknown outcome)", n)
	}
	return ""
}
