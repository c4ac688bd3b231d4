package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
)

// side is one of the two stores that the model test compares. Their ids, times, epochs and versions
// differ. So it describes answers in words that do not: an id is the number of events up to it, a
// time of now is "now", and an epoch or version is its place among those seen so far.
type side struct {
	DeliveryStore
	ids      []int64 // of all events, in order
	jobs     []int64 // of all redelivery jobs, in order
	epochs   map[string][]hookgate.Epoch
	versions map[string][]int64
}

func newSide(s DeliveryStore) *side {
	return &side{DeliveryStore: s, epochs: map[string][]hookgate.Epoch{},
		versions: map[string][]int64{}}
}

// id returns the id of event n, counted from 1, or 0.
func (s *side) id(n int) int64 {
	if n == 0 {
		return 0
	}
	return s.ids[n-1]
}

// upTo returns the number of events up to an id.
func (s *side) upTo(id int64) int {
	n, found := slices.BinarySearch(s.ids, id)
	if found {
		n++
	}
	return n
}

// numbers describes ids of events.
func (s *side) numbers(ids []int64) (numbers []int) {
	for _, id := range ids {
		numbers = append(numbers, s.upTo(id))
	}
	return numbers
}

// moment describes a time. Times that the model chooses are years ago.
func moment(at time.Time) string {
	switch age := time.Since(at); {
	case at.IsZero():
		return "never"
	case age > -time.Hour && age < time.Hour:
		return "now"
	}
	return at.UTC().Format(time.RFC3339Nano)
}

// version describes a version of a subscription.
func (s *side) version(name string, version int64) int {
	return place(s.versions, name, version)
}

func (s *side) epoch(name string, epoch hookgate.Epoch) int {
	return place(s.epochs, name, epoch)
}

// place returns the place of a value among those that were seen before.
func place[T comparable](seen map[string][]T, name string, value T) int {
	i := slices.Index(seen[name], value)
	if i < 0 {
		i = len(seen[name])
		seen[name] = append(seen[name], value)
	}
	return i
}

// failure describes an error.
func (s *side) failure(err error) string {
	var (
		order *hookgate.OrderError
		ahead *hookgate.AheadError
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &order):
		return fmt.Sprintf("%s cannot change its order, %d", order.Subscription, order.Exceptions)
	case errors.As(err, &ahead):
		return fmt.Sprintf("the log ends at %d", s.upTo(ahead.End))
	}
	for _, known := range []error{hookgate.ErrFenced, hookgate.ErrLeased, hookgate.ErrRevision,
		hookgate.ErrInUse, hookgate.ErrNotFound} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "unexpected: " + err.Error()
}

func (s *side) exception(e *hookgate.Exception) string {
	return fmt.Sprintf("%d/%d key %q %s attempts %d due %s since %v wait %v reason %q status %d %s",
		s.upTo(e.Event), e.Redelivery, e.OrderingKey, e.State, e.Attempts, moment(e.Due), e.Since,
		e.Wait, e.Reason, e.Status, moment(e.Changed))
}

func (s *side) hold(h hookgate.Hold) string {
	return fmt.Sprintf("%s after %d excepted %v", h.OrderingKey, s.upTo(h.After), h.Excepted)
}

func (s *side) holds(holds []hookgate.Hold) (all []string) {
	for _, h := range holds {
		all = append(all, s.hold(h))
	}
	slices.Sort(all)
	return all
}

func (s *side) job(j *hookgate.RedeliveryJob) string {
	number := len(s.jobs) - 1 // the last one with this id, because Forget frees ids
	for number >= 0 && s.jobs[number] != j.ID {
		number--
	}
	return fmt.Sprintf("job %d number %d events %v after %d until %d filter %v key %q rate %d at %d"+
		" done %d failed %d", number, j.Redelivery, s.numbers(j.Events),
		s.upTo(j.After), s.upTo(j.Until), j.Filter, j.OrderingKey, j.Rate, s.upTo(j.Position),
		j.Delivered, j.Failed)
}

func (s *side) state(name string, state *hookgate.SubscriptionState) string {
	text := fmt.Sprintf("epoch %d version %d cursor %d settled %v excepted %v holds %q exceptions %d"+
		" clock %v paused %v number %d until %d", s.epoch(name, state.Epoch), s.version(name,
		state.Version), s.upTo(state.Cursor), s.numbers(state.Settled), s.numbers(state.Excepted),
		s.holds(state.Holds), state.Exceptions, state.Clock, state.Paused, state.Redelivery,
		s.upTo(state.RedeliverUntil))
	for _, j := range state.Jobs {
		text += "\n" + s.job(&j)
	}
	return text
}

func (s *side) due(name string, due hookgate.Due) string {
	text := fmt.Sprintf("holds %q next %s count %d held %d version %d paused %v", s.holds(due.Holds),
		moment(due.Next), due.Count, due.Held, s.version(name, due.Version), due.Paused)
	for _, e := range due.Exceptions {
		text += "\n" + s.exception(&e)
	}
	for _, j := range due.Jobs {
		text += "\n" + s.job(&j)
	}
	return text
}

// overview describes all subscriptions, as readers and Renew show them.
func (s *side) overview() string {
	infos, err := s.Reader.Subscriptions(context.Background())
	if err != nil {
		return s.failure(err)
	}
	roster, err := s.Owner.Renew(context.Background(), "onlooker", time.Hour)
	if err != nil {
		return s.failure(err)
	}
	var text strings.Builder
	for i, info := range infos {
		fmt.Fprintf(&text, "%s %s %v %s revision %d cursor %d end %d oldest %s backlog %d: %d %d %d"+
			" %d owner %q paused %s %q %q broken %s created %s removed %s delivered %s\n", info.Name,
			info.Order, info.Filter, info.Definition, info.Revision, s.upTo(info.Cursor),
			s.upTo(info.End), moment(info.OldestStoredAt), info.Backlog, info.Waiting, info.Parked,
			info.Dead, info.Held, info.Owner, moment(info.PausedAt), info.PausedBy, info.PauseReason,
			moment(info.BrokenSince), moment(info.CreatedAt), moment(info.RemovedAt),
			moment(info.LastDeliveredAt))
		if i < len(roster.Subscriptions) {
			e := roster.Subscriptions[i]
			seen := s.epochs[e.Name]
			fmt.Fprintf(&text, "%s owner %q epoch of its last owner %v revision %d version %d\n", e.Name,
				e.Owner, len(seen) > 0 && e.Epoch == seen[len(seen)-1], e.Revision, s.version(e.Name,
					e.Version))
		}
	}
	fmt.Fprintf(&text, "%d in the roster", len(roster.Subscriptions))
	return text.String()
}

// details describes the exceptions and jobs of a subscription.
func (s *side) details(name string) string {
	exceptions, err := s.Reader.Exceptions(context.Background(), hookgate.ExceptionFilter{
		Subscription: name, Limit: 1000})
	if err != nil {
		return s.failure(err)
	}
	jobs, err := s.Reader.RedeliveryJobs(context.Background(), name, 1000)
	if err != nil {
		return s.failure(err)
	}
	text := name
	for _, e := range exceptions {
		text += fmt.Sprintf("\n%s of %s/%s %d bytes", s.exception(&e.Exception), e.Source, e.EventType,
			e.Size)
	}
	for _, j := range jobs {
		text += fmt.Sprintf("\n%s of %s by %s %q %s to %s, cancelled %v", s.job(&j.RedeliveryJob),
			j.Subscription, j.By, j.Reason, moment(j.CreatedAt), moment(j.EndedAt), j.Cancelled)
	}
	return text
}

// history describes the attempts of all events.
func (s *side) history() string {
	var text []string
	for n, id := range s.ids {
		attempts, err := s.Reader.Attempts(context.Background(), id)
		if err != nil {
			return s.failure(err)
		}
		for _, a := range attempts {
			text = append(text, fmt.Sprintf("%d %s/%d number %d %s status %d %s took %v reason %q by %q",
				n+1, a.Subscription, a.Redelivery, a.Number, a.Outcome, a.Status, moment(a.At), a.Took,
				a.Reason, a.By))
		}
	}
	slices.Sort(text) // attempts of the same time have no order
	return strings.Join(text, "\n")
}
