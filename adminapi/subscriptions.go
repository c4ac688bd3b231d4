package adminapi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// LiveSubscription is what the process that delivers a subscription knows of it.
type LiveSubscription struct {
	Name string
	// InFlight is the number of attempts under way, and Limit how many there may be now.
	InFlight, Limit int
	// Breaker is closed, open or half_open.
	Breaker string
	// Problem says for people why nothing is attempted now; empty if something is.
	Problem string
}

// subscriptionTimeout bounds one change of a subscription, which is one transaction.
const subscriptionTimeout = 30 * time.Second

// showSubscriptions answers all subscriptions.
func (s *API) showSubscriptions(c *call) {
	answer := api.Subscriptions{Subscriptions: []api.Subscription{}}
	all, err := s.readSubscriptions(c.request.Context())
	if err != nil {
		c.unavailable("reading the subscriptions", err)
		return
	}
	live := s.liveSubscriptions()
	for i := range all {
		answer.Subscriptions = append(answer.Subscriptions, subscriptionOf(&all[i], live, time.Now()))
	}
	c.json(answer)
}

// readSubscriptions returns all subscriptions; none if the store keeps none.
func (s *API) readSubscriptions(ctx context.Context) ([]hookgate.SubscriptionInfo, error) {
	if s.subscriptions == nil {
		return nil, nil
	}
	return s.subscriptions.Subscriptions(ctx)
}

// liveSubscriptions returns what this process knows of the subscriptions that it delivers.
func (s *API) liveSubscriptions() []LiveSubscription {
	if s.delivering == nil {
		return nil
	}
	return s.delivering()
}

// findSubscription returns the subscription of the path. If ok is false, the call is answered.
func (s *API) findSubscription(c *call) (info hookgate.SubscriptionInfo, ok bool) {
	return s.subscriptionNamed(c, c.parameter("name"))
}

func (s *API) subscriptionNamed(c *call, name string) (info hookgate.SubscriptionInfo, ok bool) {
	all, err := s.readSubscriptions(c.request.Context())
	if err != nil {
		c.unavailable("reading the subscriptions", err)
		return info, false
	}
	for _, info := range all {
		if info.Name == name {
			return info, true
		}
	}
	c.noSubscription(name)
	return info, false
}

func (c *call) noSubscription(name string) {
	c.fail(http.StatusNotFound, "no subscription "+printable(name))
}

// showSubscription answers one subscription.
func (s *API) showSubscription(c *call) {
	if info, ok := s.findSubscription(c); ok {
		c.json(subscriptionOf(&info, s.liveSubscriptions(), time.Now()))
	}
}

// listExceptions lists the exceptions of a subscription.
func (s *API) listExceptions(c *call) {
	if info, ok := s.findSubscription(c); ok {
		s.exceptions(c, hookgate.ExceptionFilter{Subscription: info.Name},
			func(f *hookgate.ExceptionFilter, name, value string) (err error) {
				switch name {
				case "state":
					f.State, err = parseExceptionState(value)
					return err
				case "held":
					if f.Held = value == "true"; !f.Held && value != "false" {
						return badParameter{name, "must be true or false"}
					}
					return nil
				}
				return unknownParameter(name)
			})
	}
}

// exceptions lists the exceptions that f and the parameters select. other sets f from a parameter
// that is not key, after or limit.
func (s *API) exceptions(c *call, f hookgate.ExceptionFilter,
	other func(f *hookgate.ExceptionFilter, name, value string) error) {
	limit := 0
	err := readParameters(c.request.URL.RawQuery, func(name, value string) (err error) {
		switch name {
		case "key":
			f.OrderingKey = value
		case "after":
			if f.After, err = parseDelivery(value); err != nil {
				return badParameter{name, "must be the next of a page, or the id of an event"}
			}
		case "limit":
			return parseLimit(&limit, name, value)
		default:
			return other(&f, name, value)
		}
		return nil
	})
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	answerList(c, listing[hookgate.StoredException, api.Exception]{
		name: "exceptions", one: "an exception", limit: limit,
		read: func(ctx context.Context, limit int) iter.Seq2[hookgate.StoredException, error] {
			return s.exceptionPages(ctx, f, limit)
		},
		row: exceptionOf,
		id: func(e *hookgate.StoredException) string {
			return deliveryText(hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery})
		},
		page: func(rows []api.Exception, next string, _ bool) any {
			return api.Exceptions{Exceptions: rows, Next: next}
		},
	})
}

// exceptionPages yields at most limit exceptions, page by page; 0 means all.
func (s *API) exceptionPages(ctx context.Context, f hookgate.ExceptionFilter,
	limit int) iter.Seq2[hookgate.StoredException, error] {
	return func(yield func(hookgate.StoredException, error) bool) {
		for left := limit; ; {
			f.Limit = maxPage + 1
			if limit > 0 {
				f.Limit = min(f.Limit, left)
			}
			page, err := s.subscriptions.Exceptions(ctx, f)
			if err != nil {
				yield(hookgate.StoredException{}, err)
				return
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
			}
			left -= len(page)
			if len(page) < f.Limit || limit > 0 && left == 0 {
				return
			}
			last := &page[len(page)-1]
			f.After = hookgate.EventRedelivery{Event: last.Event, Redelivery: last.Redelivery}
		}
	}
}

func parseExceptionState(text string) (hookgate.ExceptionState, error) {
	switch state := hookgate.ExceptionState(text); state {
	case hookgate.ExceptionWaiting, hookgate.ExceptionParked, hookgate.ExceptionDead:
		return state, nil
	}
	return "", badParameter{"state", "must be waiting, parked or dead"}
}

// deliveryText names a delivery of a subscription: the id of the event, with a point and the
// redelivery number if that is not 0.
func deliveryText(d hookgate.EventRedelivery) string {
	if d.Redelivery == 0 {
		return api.EventID(d.Event)
	}
	return fmt.Sprintf("%d.%d", d.Event, d.Redelivery)
}

// parseDelivery reads what deliveryText returns.
func parseDelivery(text string) (d hookgate.EventRedelivery, err error) {
	event, number, found := strings.Cut(text, ".")
	if d.Event, err = parseEventID(event); err == nil && found {
		d.Redelivery, err = strconv.ParseInt(number, 10, 64)
	}
	return d, err
}

var errEventID = errors.New("is not the id of an event")

// parseEventID reads an event id, which is a number without a sign.
func parseEventID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 0 || strings.HasPrefix(text, "+") {
		return 0, errEventID
	}
	return id, nil
}

// listJobs answers the redelivery jobs of a subscription, newest first.
func (s *API) listJobs(c *call) {
	info, ok := s.findSubscription(c)
	if !ok {
		return
	}
	limit := 0
	err := readParameters(c.request.URL.RawQuery, func(name, value string) error {
		if name != "limit" {
			return unknownParameter(name)
		}
		return parseLimit(&limit, name, value)
	})
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	if limit, ok = c.pageLimit(limit); !ok {
		return
	}
	jobs, err := s.subscriptions.RedeliveryJobs(c.request.Context(), info.Name, limit)
	if err != nil {
		c.unavailable("reading the redelivery jobs", err)
		return
	}
	answer := api.RedeliveryJobs{Jobs: []api.RedeliveryJob{}}
	for i := range jobs {
		answer.Jobs = append(answer.Jobs, jobOf(&jobs[i]))
	}
	c.json(answer)
}

// showJob answers one redelivery job.
func (s *API) showJob(c *call) {
	if info, ok := s.findSubscription(c); ok {
		if job, ok := s.findJob(c, info.Name); ok {
			c.json(jobOf(&job))
		}
	}
}

// findJob returns the redelivery job of the path. It finds the newest maxPage jobs of a
// subscription. If ok is false, the call is answered.
func (s *API) findJob(c *call, name string) (job hookgate.StoredJob, ok bool) {
	id, err := strconv.ParseInt(c.parameter("id"), 10, 64)
	if err == nil {
		jobs, err := s.subscriptions.RedeliveryJobs(c.request.Context(), name, maxPage)
		if err != nil {
			c.unavailable("reading the redelivery jobs", err)
			return job, false
		}
		for _, job := range jobs {
			if job.ID == id {
				return job, true
			}
		}
	}
	c.fail(http.StatusNotFound, fmt.Sprintf("subscription %s has no redelivery job %s", name,
		printable(c.parameter("id"))))
	return job, false
}
