package certify

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/hookgate/hookgate/load"
)

// answerReport is answers.json: the answers that differ from the contract of POST /webhooks
// (docs/reference/http.md).
type answerReport struct {
	// Judged counts the answers, of any status.
	Judged     int        `json:"judged"`
	Violations violations `json:"violations"`
}

// answered is the JSON of an answer. The members that a 202 must have are pointers.
type answered struct {
	Status         *string      `json:"status"`
	MessageID      *string      `json:"messageId"`
	RequestID      *string      `json:"requestId"`
	JobID          *string      `json:"jobId"`
	Queue          *string      `json:"queue"`
	LatencyMS      *json.Number `json:"latency_ms"`
	Note           string       `json:"note"`
	FirstRequestID string       `json:"firstRequestId"`
	Error          string       `json:"error"`
}

// check judges the answer to one request. A proxy in front of the gate may answer an error in its
// own form, so an error is only judged if it names a request.
func (r *answerReport) check(at *load.Attempt) {
	if at.Status == 0 {
		return
	}
	r.Judged++
	var wrong []string
	switch {
	case at.Answer == nil:
		wrong = []string{"the ledger does not have it"}
	case strings.HasPrefix(at.Error, "incomplete answer"):
		return // errors and acceptance judge it
	case at.Accepted():
		wrong = wrongAcceptance(at)
	case at.RequestID != "":
		wrong = wrongError(at)
	}
	if len(wrong) > 0 {
		r.Violations.add("%s (line %d): in the answer %d %s", at.MessageID, at.Line, at.Status,
			strings.Join(wrong, ", "))
	}
}

// wrongAcceptance says how a 2xx differs from the contract.
func wrongAcceptance(at *load.Attempt) (wrong []string) {
	if at.Status != http.StatusAccepted {
		wrong = append(wrong, "the status is not 202")
	}
	a, problem := parseAnswer(at.Answer)
	if problem != "" {
		return append(wrong, problem)
	}
	text := func(name string, got *string, want string) {
		switch {
		case got == nil || *got == "":
			wrong = append(wrong, name+" is missing")
		case want != "" && *got != want:
			wrong = append(wrong, fmt.Sprintf("%s is %q, not %q", name, head(*got), want))
		}
	}
	text("status", a.Status, "accepted")
	text("messageId", a.MessageID, at.MessageID)
	text("X-Request-Id", &at.Answer.RequestID, "")
	text("requestId", a.RequestID, at.Answer.RequestID)
	text("jobId", a.JobID, "")
	text("queue", a.Queue, "webhooks")
	if a.LatencyMS == nil {
		wrong = append(wrong, "latency_ms is missing")
	} else if ms, err := a.LatencyMS.Float64(); err != nil || ms < 0 {
		wrong = append(wrong, fmt.Sprintf("latency_ms is %s", head(a.LatencyMS.String())))
	}
	if duplicate := at.Duplicate(); a.Note != "" && !duplicate {
		wrong = append(wrong, fmt.Sprintf("the note is %q", head(a.Note)))
	} else if duplicate != (a.FirstRequestID != "") {
		wrong = append(wrong, "there is only one of note and firstRequestId")
	}
	return wrong
}

// wrongError says how the answer of a rejected request differs from the contract.
func wrongError(at *load.Attempt) (wrong []string) {
	a, problem := parseAnswer(at.Answer)
	switch {
	case problem != "":
		return []string{problem}
	case a.Status == nil || *a.Status != "error" || a.Error == "":
		wrong = append(wrong, `there is no "status":"error" with an error`)
	case a.RequestID == nil || *a.RequestID != at.Answer.RequestID:
		wrong = append(wrong, "X-Request-Id is not requestId")
	}
	later := at.Status == http.StatusTooManyRequests || at.Status == http.StatusServiceUnavailable
	if later && at.Answer.RetryAfter == "" {
		wrong = append(wrong, "Retry-After is missing")
	}
	return wrong
}

func parseAnswer(from *load.Answer) (a answered, problem string) {
	if kind, _, err := mime.ParseMediaType(from.Type); err != nil || kind != jsonType {
		return a, fmt.Sprintf("the Content-Type is %q", head(from.Type))
	}
	if err := json.Unmarshal([]byte(from.Body), &a); err != nil {
		return a, "the body is not such JSON: " + err.Error()
	}
	return a, ""
}

// checkIDs adds the request ids that were given to several requests.
func (r *answerReport) checkIDs(a *account) {
	for i := range a.requests {
		if q := &a.requests[i]; q.named && a.byID[q.id] != int32(i) {
			r.Violations.add("%s (line %d): another request has the same request id",
				a.events[q.event].messageID, q.line)
		}
	}
}
