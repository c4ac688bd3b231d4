package adminapi

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// listAttempts lists the attempts of a subscription, the last first.
func (s *API) listAttempts(c *call) {
	info, ok := s.findSubscription(c)
	if !ok {
		return
	}
	f := hookgate.AttemptFilter{Subscription: info.Name}
	limit := 0
	err := readParameters(c.request.URL.RawQuery, func(name, value string) (err error) {
		switch name {
		case "outcome":
			f.Outcomes, err = parseOutcome(name, value)
		case "status":
			f.Status, err = parseStatus(name, value)
		case "key":
			f.OrderingKey = value
		case "from":
			err = parseTime(&f.From, name, value)
		case "to":
			err = parseTime(&f.To, name, value)
		case "after":
			f.After, err = parseAttemptPlace(name, value)
		case "limit":
			err = parseLimit(&limit, name, value)
		default:
			err = unknownParameter(name)
		}
		return err
	})
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	answerList(c, listing[hookgate.RecentAttempt, api.Attempt]{
		name: "attempts", one: "an attempt", limit: limit, pageTime: s.config.SearchTime,
		read: func(ctx context.Context, limit int) iter.Seq2[hookgate.RecentAttempt, error] {
			return s.attemptPages(ctx, f, limit)
		},
		row: attemptOf,
		id:  func(a *hookgate.RecentAttempt) string { return attemptPlaceText(a.Place()) },
		page: func(rows []api.Attempt, next string, partial bool) any {
			return api.Attempts{Attempts: rows, Next: next, Partial: partial}
		},
	})
}

// attemptPages yields at most limit attempts; 0 means all. If ctx ends after it has read some, the
// error is a *hookgate.PartialError.
func (s *API) attemptPages(ctx context.Context, f hookgate.AttemptFilter,
	limit int) iter.Seq2[hookgate.RecentAttempt, error] {
	return func(yield func(hookgate.RecentAttempt, error) bool) {
		begin := f.After
		for left := limit; ; {
			f.Limit = maxPage + 1
			if limit > 0 {
				f.Limit = min(f.Limit, left)
			}
			page, err := s.subscriptions.RecentAttempts(ctx, f)
			if err != nil {
				if ctx.Err() != nil && f.After != begin {
					err = &hookgate.PartialError{After: attemptPlaceText(f.After), Err: err}
				}
				yield(hookgate.RecentAttempt{}, err)
				return
			}
			for i := range page.Attempts {
				if !yield(page.Attempts[i], nil) {
					return
				}
			}
			left -= len(page.Attempts)
			f.After = page.Next
			if f.After == (hookgate.AttemptPlace{}) || limit > 0 && left == 0 {
				return
			}
		}
	}
}

// undelivered selects the attempts that did not deliver.
const undelivered = "undelivered"

// parseOutcome reads an outcome, or undelivered.
func parseOutcome(name, value string) ([]hookgate.AttemptOutcome, error) {
	switch o := hookgate.AttemptOutcome(value); o {
	case hookgate.AttemptDelivered, hookgate.AttemptDeadLettered, hookgate.AttemptSkipped,
		hookgate.AttemptFailed, hookgate.AttemptParked:
		return []hookgate.AttemptOutcome{o}, nil
	case undelivered:
		return []hookgate.AttemptOutcome{hookgate.AttemptFailed, hookgate.AttemptParked,
			hookgate.AttemptDeadLettered, hookgate.AttemptSkipped}, nil
	}
	return nil, badParameter{name,
		"must be delivered, failed, parked, dead_lettered, skipped or undelivered"}
}

// parseStatus reads a status such as 503, a class such as 5xx, or none, which is no answer.
func parseStatus(name, value string) (*hookgate.StatusRange, error) {
	if value == "none" {
		return &hookgate.StatusRange{}, nil
	}
	class, isClass := strings.CutSuffix(value, "xx")
	n, err := strconv.Atoi(class)
	switch {
	case err == nil && isClass && 1 <= n && n <= 9:
		return &hookgate.StatusRange{From: 100 * n, To: 100*n + 99}, nil
	case err == nil && !isClass && 100 <= n && n <= 999:
		return &hookgate.StatusRange{From: n, To: n}, nil
	}
	return nil, badParameter{name, "must be a status such as 503, a class such as 5xx, or none"}
}

// attemptPlaceText is the text that parseAttemptPlace reads.
func attemptPlaceText(p hookgate.AttemptPlace) string {
	return fmt.Sprintf("%d.%d.%d.%d", p.At.UnixMicro(), p.Event, p.Redelivery, p.Number)
}

func parseAttemptPlace(name, text string) (p hookgate.AttemptPlace, err error) {
	var at int64
	n, err := fmt.Sscanf(text, "%d.%d.%d.%d", &at, &p.Event, &p.Redelivery, &p.Number)
	p.At = time.UnixMicro(at)
	if err != nil || n != 4 || attemptPlaceText(p) != text {
		return p, badParameter{name, "must be the next of a page"}
	}
	return p, nil
}

func attemptOf(a *hookgate.RecentAttempt) api.Attempt {
	return api.Attempt{
		Event: api.EventID(a.Event), Redelivery: a.Redelivery, Number: a.Number, Outcome: a.Outcome,
		Status: a.Status, At: api.At(a.At), DurationMs: float64(a.Took.Microseconds()) / 1000,
		Reason: a.Reason, By: a.By, Source: a.Source, EventType: a.EventType, MessageID: a.MessageID,
		Key: a.OrderingKey,
	}
}
