package certify

import (
	"net/http"
	"testing"
)

// Goal: an answer that differs from the contract fails answers. Method: gates that do everything
// right and answer one request, or every request, in another way.
func TestSaboteursOfAnswers(t *testing.T) {
	body := func(change func(body map[string]any)) faults {
		return faults{reply: func(request int, r *gateReply) {
			if request == middle {
				change(r.body)
			}
		}}
	}
	without := func(name string) faults {
		return body(func(body map[string]any) { delete(body, name) })
	}
	first := ""
	certifyAll(t, []saboteur{
		{name: "answers 200", faults: faults{reply: func(_ int, r *gateReply) {
			r.status = http.StatusOK
		}}, fail: []string{"answers"}},
		{name: "answers 201 once", faults: faults{reply: func(request int, r *gateReply) {
			if request == middle {
				r.status = http.StatusCreated
			}
		}}, fail: []string{"answers"}},
		{name: "answers text", faults: faults{reply: func(_ int, r *gateReply) {
			r.mediaType = "text/plain"
		}}, fail: []string{"answers"}},
		{name: "names another message", faults: body(func(body map[string]any) {
			body["messageId"] = "another"
		}), fail: []string{"answers"}},
		{name: "names another request in the header",
			faults: faults{reply: func(request int, r *gateReply) {
				if request == middle {
					r.requestID = "another"
				}
			}}, fail: []string{"answers"}},
		{name: "names no request in the header", faults: faults{reply: func(_ int, r *gateReply) {
			r.requestID = ""
		}}, fail: []string{"answers"}},
		{name: "says ok", faults: body(func(body map[string]any) { body["status"] = "ok" }),
			fail: []string{"answers"}},
		{name: "leaves out the status", faults: without("status"), fail: []string{"answers"}},
		{name: "leaves out the job", faults: without("jobId"), fail: []string{"answers"}},
		{name: "leaves out the queue", faults: without("queue"), fail: []string{"answers"}},
		{name: "leaves out its latency", faults: without("latency_ms"), fail: []string{"answers"}},
		{name: "says the latency in words", faults: body(func(body map[string]any) {
			body["latency_ms"] = "quick"
		}), fail: []string{"answers"}},
		{name: "has a note of its own", faults: body(func(body map[string]any) {
			body["note"] = "queued"
		}), profile: noDuplicates, fail: []string{"answers"}},
		{name: "names a first request for a first", faults: body(func(body map[string]any) {
			body["firstRequestId"] = body["requestId"]
		}), profile: noDuplicates, fail: []string{"answers"}},
		{name: "answers an error without Retry-After", faults: faults{status: func(r int) int {
			if r == middle {
				return http.StatusServiceUnavailable
			}
			return 0
		}}, profile: func(p *Phase) {
			p.Duplicates, p.ErrorPercent, p.AcceptancePercent = 0, 50, 50
		}, fail: []string{"answers"}},
		{name: "gives two requests one id", faults: faults{reply: func(request int, r *gateReply) {
			switch request {
			case 10: // nobody else writes first, and 20 comes after the answer to 10
				first = r.requestID
			case middle:
				r.requestID, r.body["requestId"] = first, first
			}
		}}, profile: func(p *Phase) { p.Duplicates, p.Concurrency, p.Rate = 0, 1, 0 },
			fail: []string{"answers", "content", "lineage"}},
	})
}

func noDuplicates(p *Phase) { p.Duplicates = 0 }

// Goal: no answer may take longer than max_ms, and P99 is judged in every phase. Method: gates that
// hold back one answer, or 2 of 100.
func TestSaboteursOfLatency(t *testing.T) {
	certifyAll(t, []saboteur{
		{name: "answers one late", faults: faults{delay: slowEvery(300)},
			profile: func(p *Phase) { p.Keys, p.P99MS, p.MaxMS = 300, 60_000, 2000 },
			fail:    []string{"max"}},
		{name: "answers 2 of 100 late", faults: faults{delay: slowEvery(50)},
			profile: func(p *Phase) { p.Keys, p.P99MS = 300, 2000 }, fail: []string{"p99"}},
	})
}
