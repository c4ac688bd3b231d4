package api

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/hookgate/hookgate/control"
)

const (
	// approvalPoll and drainPoll are the times between two questions to the gate.
	approvalPoll, drainPoll = 2 * time.Second, 100 * time.Millisecond
	// maxUnavailable is how many answers 503 in a row, with nothing done in between, end a call that
	// is repeated.
	maxUnavailable = 10
	// minPause is the shortest pause after an answer 503.
	minPause = 100 * time.Millisecond
	// searchPage is how many events a page of a search has.
	searchPage = 500
)

// sleep waits, and returns an error if ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// HasStatus reports whether err is an error answer with this status.
func HasStatus(err error, status int) bool {
	var failed *Error
	return errors.As(err, &failed) && failed.Status == status
}

// AwaitApproval waits until an approval is decided, used or expired, and returns it. While the gate
// answers 5xx it goes on waiting.
func (c *Client) AwaitApproval(ctx context.Context, a Approval) (Approval, error) {
	for a.State == control.ApprovalPending {
		if err := sleep(ctx, approvalPoll); err != nil {
			return a, err
		}
		now, err := c.Approval(ctx, a.ID)
		var failed *Error
		switch {
		case err == nil:
			a = now
		case !errors.As(err, &failed) || failed.Status < 500:
			return a, err
		}
	}
	return a, nil
}

// DrainState is the state of a queue that is being drained.
type DrainState struct {
	// Left is how many records are queued; 0 if it is not known.
	Left int64
	// Unsure is true if the queue may hold more than the gate knows: it is away.
	Unsure bool
	// Buffering is true in the mode buffer, in which nothing is stored.
	Buffering bool
}

// DrainState asks the gate how many records are queued.
func (c *Client) DrainState(ctx context.Context) (s DrainState, err error) {
	health, err := c.Health(ctx)
	if err != nil {
		return s, err
	}
	s.Buffering = health.Mode == control.ModeBuffer
	s.Unsure = health.Queue.Error != "" || health.Queue.Degraded != ""
	switch {
	case health.Queue.Depth != nil:
		s.Left = *health.Queue.Depth
	case !s.Unsure:
		return s, fmt.Errorf("%s answers without the depth of a queue: is it a gate?", c.URL)
	}
	return s, nil
}

// ErrBuffering is the error of AwaitDrained for records that are not stored in the mode buffer.
var ErrBuffering = errors.New("nothing is stored in mode buffer")

// firstAnswer is how long AwaitDrained waits for the first answer, however short its timeout.
const firstAnswer = 30 * time.Second

// AwaitDrained returns nil when nothing is queued, and context.DeadlineExceeded after the timeout.
// An error comes with the state that the gate reported last. show gets each state.
func (c *Client) AwaitDrained(ctx context.Context, timeout time.Duration,
	show func(DrainState)) (last DrainState, err error) {
	asking, cancelAsking := context.WithTimeout(ctx, max(timeout, firstAnswer))
	defer cancelAsking()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for ; ; asking = ctx {
		s, err := c.DrainState(asking)
		if err != nil {
			if asking.Err() != nil {
				err = asking.Err()
			}
			return last, err
		}
		last = s
		show(s)
		switch {
		case s.Left == 0 && !s.Unsure:
			return s, nil
		case s.Left > 0 && s.Buffering:
			return s, ErrBuffering
		}
		if err := sleep(ctx, drainPoll); err != nil {
			return s, err
		}
	}
}

// repeat makes a call until it says that nothing is left. If the answer is 503, repeat waits for as
// long as the gate asks for, and gives up when nothing is done several times in a row.
func repeat(ctx context.Context, once func() (done int, more bool, err error)) error {
	for idle := 0; ; {
		done, more, err := once()
		if err == nil && !more {
			return nil
		}
		if err == nil || done > 0 {
			idle = 0
		} else {
			idle++
		}
		if err == nil {
			continue
		}
		var failed *Error
		if !errors.As(err, &failed) || failed.Status != http.StatusServiceUnavailable ||
			idle == maxUnavailable {
			return err
		}
		if sleep(ctx, max(failed.RetryAfter, minPause)) != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// RetryAll is RetryDeadLetters until none are left. It hands over each answer, also that of a call
// that failed.
func (c *Client) RetryAll(ctx context.Context, s DeadLetterSelection, did func(Retried),
	options ...Option) error {
	return repeat(ctx, func() (int, bool, error) {
		a, err := c.RetryDeadLetters(ctx, s, options...)
		did(a)
		if a.Next != "" {
			s.After = a.Next
		}
		return len(a.Retried), a.Next != "", err
	})
}

// PurgeAll is PurgeDeadLetters until none are left. It hands over each answer.
func (c *Client) PurgeAll(ctx context.Context, s DeadLetterSelection, did func(Purged),
	options ...Option) error {
	return repeat(ctx, func() (int, bool, error) {
		a, err := c.PurgeDeadLetters(ctx, s, options...)
		did(a)
		if a.Next != "" {
			s.After = a.Next
		}
		return len(a.Purged), a.Next != "", err
	})
}

// RemoveAllTests is RemoveTests until none are left. It hands over each answer.
func (c *Client) RemoveAllTests(ctx context.Context, did func(RemovedTests),
	options ...Option) error {
	return repeat(ctx, func() (int, bool, error) {
		a, err := c.RemoveTests(ctx, options...)
		did(a)
		return int(a.Removed), a.More, err
	})
}

// SearchEvents yields the events that q selects, newest first, from one page after the other, until
// there are q.Limit events.
func (c *Client) SearchEvents(ctx context.Context, q EventQuery) iter.Seq2[Event, error] {
	q.Order = OrderNewest
	left := q.Limit // 0: all
	return func(yield func(Event, error) bool) {
		for {
			q.Limit = searchPage
			if left > 0 {
				q.Limit = min(searchPage, left)
			}
			page, err := c.Events(ctx, q)
			if err != nil {
				yield(Event{}, err)
				return
			}
			for _, e := range page.Events {
				if !yield(e, nil) {
					return
				}
			}
			if q.After = page.Next; page.Next == "" {
				return
			}
			if left > 0 {
				if left -= len(page.Events); left == 0 {
					return
				}
			}
		}
	}
}
