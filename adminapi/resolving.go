package adminapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

const (
	// resolveBatch is the number of exceptions that one call retries, skips or dead-letters at most,
	// and of the ids that one call may name.
	resolveBatch = 1000
	// maxIDsBody bounds a body that may have resolveBatch ids, in bytes.
	maxIDsBody = 64 << 10
)

// exceptionSelection says which exceptions of a subscription a call is for.
type exceptionSelection struct {
	// filter includes the place to continue after, but no limit.
	filter hookgate.ExceptionFilter
	dryRun bool
}

// many reports whether the selection can have more than one event.
func (s *exceptionSelection) many() bool { return len(s.filter.Events) != 1 }

// describe describes the selection without the place, for the admin trail and approvals.
func (s *exceptionSelection) describe() string {
	parts := []string{s.filter.Subscription}
	if s.filter.State != "" {
		parts = append(parts, "state="+string(s.filter.State))
	}
	if s.filter.OrderingKey != "" {
		parts = append(parts, "key="+strconv.Quote(s.filter.OrderingKey))
	}
	if len(s.filter.Events) > 0 {
		parts = append(parts, "events="+joinIDs(s.filter.Events))
	}
	if len(parts) == 1 {
		parts = append(parts, "all")
	}
	return strings.Join(parts, " ")
}

func joinIDs(ids []int64) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = api.EventID(id)
	}
	return strings.Join(texts, ",")
}

// readExceptionSelection reads the body of a call on exceptions. An error is for the caller.
func readExceptionSelection(c *call, name string) (s exceptionSelection, err error) {
	s.filter.Subscription = name
	members, err := readLargeObject(c, maxIDsBody, "ids", "all", "state", "key", "after", "dryRun")
	if err != nil {
		return s, err
	}
	var all bool
	var ids []string
	var state, after string
	if err := errors.Join(
		readMember(members, "ids", "a list of event ids", &ids),
		readMember(members, "all", "true", &all),
		readMember(members, "state", "waiting, parked or dead", &state),
		readMember(members, "key", "an ordering key", &s.filter.OrderingKey),
		readMember(members, "after", "the next of an answer", &after),
		readMember(members, "dryRun", "true or false", &s.dryRun),
	); err != nil {
		return s, err
	}
	filtered := state != "" || s.filter.OrderingKey != ""
	switch byID := len(ids) > 0; {
	case byID && (all || s.filter.OrderingKey != ""), all && filtered, !byID && !all && !filtered:
		return s, errors.New(`body must have either "ids", which may go with "state", or "all":true, or` +
			` at least one of "state" and "key"`)
	}
	if s.filter.Events, err = parseIDs(ids); err != nil {
		return s, err
	}
	if state != "" {
		if s.filter.State, err = parseExceptionState(state); err != nil {
			return s, errors.New("member state must be waiting, parked or dead")
		}
	}
	if after != "" {
		if s.filter.After, err = parseDelivery(after); err != nil {
			return s, errors.New("member after must be the next of an answer")
		}
	}
	return s, nil
}

// parseIDs reads event ids, and returns them in rising order without repetitions.
func parseIDs(texts []string) (ids []int64, err error) {
	if len(texts) > resolveBatch {
		return nil, fmt.Errorf("member ids has %d ids; a call takes %d", len(texts), resolveBatch)
	}
	for _, text := range texts {
		id, err := parseEventID(text)
		if err != nil {
			return nil, fmt.Errorf("member ids has %q, which is not the id of an event",
				printable(text))
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// retryExceptions makes exceptions due now.
func (s *API) retryExceptions(c *call) { s.resolve(c, hookgate.ResolveRetry) }

// skipExceptions settles exceptions without delivering their events.
func (s *API) skipExceptions(c *call) { s.resolve(c, hookgate.ResolveSkip) }

// deadLetterExceptions turns exceptions into dead letters.
func (s *API) deadLetterExceptions(c *call) { s.resolve(c, hookgate.ResolveDeadLetter) }

// resolve retries, skips or dead-letters the exceptions that the body selects, in the order of
// their events, at most resolveBatch of them.
func (s *API) resolve(c *call, how hookgate.Resolution) {
	info, ok := s.findSubscription(c)
	if !ok {
		return
	}
	sel, err := readExceptionSelection(c, info.Name)
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	var before time.Time // only exceptions that had their state then; zero: all
	if how == hookgate.ResolveSkip && sel.many() && !sel.dryRun {
		continues := sel.filter.After != hookgate.EventRedelivery{}
		before, ok = c.mayContinue(approveSkip, sel.describe(), continues)
		if !ok {
			return
		}
	}
	answer, events, ok := s.selectExceptions(c, &sel, how, before)
	if !ok {
		return
	}
	if !sel.dryRun && !c.begin(cut(sel.describe())) {
		return
	}
	ctx, cancel := c.changing()
	defer cancel()
	if len(events) > 0 {
		f := sel.filter
		f.Events, f.After, f.Limit = events, hookgate.EventRedelivery{}, resolveBatch
		answer.Changed, err = s.control.Resolve(ctx, f, how, sel.dryRun, c.person())
	}
	verb := map[hookgate.Resolution]string{hookgate.ResolveRetry: "retried",
		hookgate.ResolveSkip: "skipped", hookgate.ResolveDeadLetter: "dead-lettered"}[how]
	if sel.dryRun {
		ok = c.dryRunDone("trying it", err)
	} else {
		ok = s.changedSubscription(c, "changing the exceptions",
			fmt.Sprintf(": %d %s", answer.Changed, verb), err)
	}
	if ok {
		c.json(answer)
	}
}

// selectExceptions reads one batch of the exceptions that can be resolved so. It returns their
// events, and an answer that says where to continue and which of the ids have no exception. If ok
// is false, the call is answered.
func (s *API) selectExceptions(c *call, sel *exceptionSelection, how hookgate.Resolution,
	before time.Time) (answer api.Resolved, events []int64, ok bool) {
	answer.DryRun = sel.dryRun
	missing := map[int64]bool{}
	for _, id := range sel.filter.Events {
		missing[id] = true
	}
	n := 0
	var last hookgate.EventRedelivery
	for e, err := range s.exceptionPages(c.request.Context(), sel.filter, resolveBatch+1) {
		if err != nil {
			c.unavailable("reading the exceptions", err)
			return answer, nil, false
		}
		if n++; n > resolveBatch {
			answer.Next = deliveryText(last)
			break
		}
		last = hookgate.EventRedelivery{Event: e.Event, Redelivery: e.Redelivery}
		delete(missing, e.Event)
		dead := how == hookgate.ResolveDeadLetter && e.State == hookgate.ExceptionDead
		if dead || !before.IsZero() && e.Changed.After(before) {
			continue
		}
		if len(events) == 0 || events[len(events)-1] != e.Event {
			events = append(events, e.Event)
		}
	}
	for _, id := range sel.filter.Events {
		looked := id > sel.filter.After.Event && (answer.Next == "" || id <= last.Event)
		if missing[id] && looked {
			answer.Missing = append(answer.Missing, api.EventID(id))
		}
	}
	return answer, events, true
}
