package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

const (
	// retryChunk is the number of dead letters that are retried concurrently, those of one ordering
	// key one after the other.
	retryChunk = 32
	// retryTime is how long one call starts new chunks.
	retryTime = 5 * time.Second
	// retryTimeout bounds the retry of one dead letter.
	retryTimeout = 10 * time.Second
)

// summary counts what became of the dead letters.
func summary(a *api.Retried) string {
	return fmt.Sprintf("%d retried, %d not", len(a.Retried), len(a.Skipped))
}

// retriable returns the reason why a dead letter is not retried; empty if it can be.
func retriable(d *hookgate.StoredDeadLetter) string {
	switch {
	case d.State == hookgate.DeadLetterPurged:
		return "it was purged, so it has no body"
	case d.Undecoded():
		return "its queue entry could not be decoded, so it has no identity"
	case d.State == hookgate.DeadLetterStored:
		return "its event is stored"
	case d.State == hookgate.DeadLetterSuperseded:
		return "a retry of it became a dead letter; retry that one"
	}
	return ""
}

// retryOne retries one dead letter, unless its event is stored already. It works in every mode,
// because a person asks for it.
func (s *API) retryOne(c *call) {
	d, ok := s.findDeadLetter(c)
	if !ok {
		return
	}
	if d.State == hookgate.DeadLetterPurged || d.Undecoded() {
		c.fail(http.StatusConflict, fmt.Sprintf("dead letter %s cannot be retried: %s", d.ID,
			retriable(&d)))
		return
	}
	if c.begin(cut(fmt.Sprintf("%s (%s)", d.ID, d.Identity))) {
		s.retry(c, []hookgate.StoredDeadLetter{d}, place{}, "")
	}
}

// retryMany retries the open dead letters that a filter selects, in the order in which they were
// stored.
func (s *API) retryMany(c *call) {
	sel, err := readSelection(c)
	if err == nil && sel.filter.State != "" && sel.filter.State != hookgate.DeadLetterOpen {
		err = badParameter{"state", "must be open: only open dead letters are retried"}
	}
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	place, err := parsePlace(sel.filter.After)
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	target := cut(sel.describe())
	if !sel.mayContinue(c, approveRetryAll) {
		return
	}
	sel.filter.State, sel.filter.After = hookgate.DeadLetterOpen, place.after
	if sel.filter.To.IsZero() || sel.filter.To.After(place.begun) {
		sel.filter.To = place.begun
	}
	letters, next, ok := s.selected(c, sel.filter,
		func(*hookgate.StoredDeadLetter) bool { return true })
	if ok && c.begin(target) {
		s.retry(c, letters, place, next)
	}
}

// place is how far the retry of many dead letters has come: after which id, and when it began. It
// skips dead letters that were stored since, because it would otherwise retry those that fail again
// for ever.
type place struct {
	after string
	begun time.Time
}

// parsePlace reads the next of an answer, or the id of a dead letter. With an id, or with nothing,
// a retry begins now.
func parsePlace(text string) (p place, err error) {
	p.after, p.begun = text, time.Now()
	if after, begun, found := strings.Cut(text, "."); found {
		micros, err := strconv.ParseInt(begun, 10, 64)
		if err != nil {
			return p, errors.New("member after must be the next of an answer")
		}
		p.after, p.begun = after, time.UnixMicro(micros)
	}
	return p, nil
}

// next returns the place in the form that parsePlace reads.
func (p place) next() string { return fmt.Sprintf("%s.%d", p.after, p.begun.UnixMicro()) }

// retry retries letters, as an action that has begun, and answers. at is the place where they
// begin; it is zero for a single one. next is the id to continue after; it is empty if there are no
// more.
func (s *API) retry(c *call, letters []hookgate.StoredDeadLetter, at place, next string) {
	http.NewResponseController(c).SetWriteDeadline(time.Now().Add(retryTime + retryTimeout +
		s.config.WriteTimeout))
	answer := api.Retried{Retried: []api.RetriedLetter{}, Skipped: []api.SkippedLetter{}}
	begun := time.Now()
	for chunk := range slices.Chunk(letters, retryChunk) {
		if time.Since(begun) > retryTime {
			next = at.after
			break
		}
		done, err := s.retryChunk(c.request.Context(), chunk, &answer)
		if done > 0 {
			at.after = chunk[done-1].ID
		}
		if err != nil {
			if !at.begun.IsZero() {
				answer.Next = at.next()
			}
			s.retryFailed(c, &answer, err)
			return
		}
	}
	if next != "" {
		at.after = next
		answer.Next = at.next()
	}
	if !c.end(control.ResultDone + ": " + summary(&answer)) {
		return
	}
	status := http.StatusOK
	if len(answer.Retried) > 0 {
		status = http.StatusAccepted
	}
	c.jsonStatus(status, answer)
}

// retryFailed answers how far a retry came.
func (s *API) retryFailed(c *call, a *api.Retried, err error) {
	if !c.end(cut(fmt.Sprintf("%s: %s, then: %v", control.ResultFailed, summary(a), err))) {
		return
	}
	a.Status, a.RequestID = "error", c.requestID
	if errors.Is(err, hookgate.ErrFull) {
		a.Error = "the queue is at its high-water mark: repeat the call with after set to next"
	} else {
		a.Error = "retrying failed; see the log for the reason"
		s.log.Error("retrying failed", "request_id", c.requestID, "error", err)
	}
	c.Header()["Retry-After"] = s.retryAfter
	c.jsonStatus(http.StatusServiceUnavailable, *a)
}

// retryChunk retries letters, those of one ordering key in their order, and adds them to the
// answer. done is how many there are before the first that failed. Some after it may have been
// retried too, and retrying them again is harmless.
func (s *API) retryChunk(ctx context.Context, letters []hookgate.StoredDeadLetter,
	a *api.Retried) (done int, err error) {
	lanes := map[string][]int{}
	for i := range letters {
		lanes[letters[i].OrderingKey] = append(lanes[letters[i].OrderingKey], i)
	}
	var mu sync.Mutex // guards a
	finished := make([]bool, len(letters))
	var stop atomic.Bool
	var retrying errgroup.Group
	for _, lane := range lanes {
		retrying.Go(func() error {
			for _, i := range lane {
				if stop.Load() {
					return nil
				}
				retried, skipped, err := s.retryLetter(ctx, &letters[i])
				if err != nil {
					stop.Store(true)
					return err
				}
				finished[i] = true
				mu.Lock()
				if skipped != "" {
					a.Skipped = append(a.Skipped, api.SkippedLetter{ID: letters[i].ID,
						State: letters[i].State, Reason: skipped})
				} else {
					a.Retried = append(a.Retried, retried)
				}
				mu.Unlock()
			}
			return nil
		})
	}
	err = retrying.Wait()
	for done < len(finished) && finished[done] {
		done++
	}
	return done, err
}

// retryLetter appends the retry of d to the queue, or returns the reason why it does not.
func (s *API) retryLetter(ctx context.Context,
	d *hookgate.StoredDeadLetter) (retried api.RetriedLetter, skipped string, err error) {
	if why := retriable(d); why != "" {
		return retried, why, nil
	}
	if err := ctx.Err(); err != nil {
		return retried, "", err // the client is gone
	}
	// Do not cancel an append that has begun.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), retryTimeout)
	defer cancel()
	body, err := s.letters.DeadLetterBody(ctx, d.ID)
	if errors.Is(err, hookgate.ErrNotFound) {
		return retried, "it was purged just now", nil
	}
	if err != nil {
		return retried, "", err
	}
	delivery := d.Retry(body, time.Now())
	receipt, err := s.queue.Append(ctx, delivery)
	if err != nil {
		return retried, "", fmt.Errorf("append the retry of dead letter %s: %w", d.ID, err)
	}
	return api.RetriedLetter{
		ID: d.ID, RequestID: delivery.RequestID.String(), RetryOf: d.RequestID.String(),
		JobID: fmt.Sprintf("%d:%s", receipt.Partition, receipt.Position),
	}, "", nil
}
