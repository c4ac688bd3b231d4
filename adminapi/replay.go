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
	"github.com/hookgate/hookgate/control"
)

const (
	// replayChunk is the number of dead letters that are replayed side by side, those of one ordering
	// key after each other.
	replayChunk = 32
	// replayTime is how long one call goes on to begin with another chunk.
	replayTime = 5 * time.Second
	// replayTimeout bounds the replay of one dead letter.
	replayTimeout = 10 * time.Second
)

// replayedLetter is a dead letter whose replay is queued.
type replayedLetter struct {
	ID string `json:"id"`
	// RequestID is that of the replay, RetryOf that of the dead letter.
	RequestID string `json:"requestId"`
	RetryOf   string `json:"retryOf"`
	JobID     string `json:"jobId"`
}

// skippedLetter is a dead letter that is not replayed, and why.
type skippedLetter struct {
	ID     string                   `json:"id"`
	State  hookgate.DeadLetterState `json:"state"`
	Reason string                   `json:"reason"`
}

// replayAnswer is what became of the dead letters that a call was to replay. Of a call that failed
// it says how far that came.
type replayAnswer struct {
	Status    string           `json:"status,omitempty"` // error, if it failed
	Error     string           `json:"error,omitempty"`
	RequestID string           `json:"requestId,omitempty"`
	Replayed  []replayedLetter `json:"retried"`
	Skipped   []skippedLetter  `json:"skipped"`
	// Next is what to go on behind, if there is more.
	Next string `json:"next,omitempty"`
}

func (a *replayAnswer) summary() string {
	return fmt.Sprintf("%d retried, %d not", len(a.Replayed), len(a.Skipped))
}

// replayable says why a dead letter is not replayed; empty if it can be.
func replayable(d *hookgate.StoredDeadLetter) string {
	switch {
	case d.State == hookgate.DeadLetterPurged:
		return "it was purged and has no body any more"
	case d.Undecoded():
		return "its queue entry could not be decoded, so that it has no identity"
	case d.State == hookgate.DeadLetterStored:
		return "its event is stored"
	case d.State == hookgate.DeadLetterSuperseded:
		return "a replay of it has become a dead letter, which is the one to replay"
	}
	return ""
}

// replayOne replays one dead letter, unless its event is stored already. In whichever mode the gate
// is: it is a person's deliberate act and no delivery.
func (s *API) replayOne(c *call) {
	d, ok := s.findDeadLetter(c)
	if !ok {
		return
	}
	if d.State == hookgate.DeadLetterPurged || d.Undecoded() {
		c.fail(http.StatusConflict, fmt.Sprintf("dead letter %s cannot be replayed: %s", d.ID,
			replayable(&d)))
		return
	}
	if c.begin(cut(fmt.Sprintf("%s (%s)", d.ID, d.Identity))) {
		s.replay(c, []hookgate.StoredDeadLetter{d}, place{}, "")
	}
}

// replayMany replays the open dead letters that a filter selects, in the order in which they were
// stored.
func (s *API) replayMany(c *call) {
	sel, err := readSelection(c)
	if err == nil && sel.filter.State != "" && sel.filter.State != hookgate.DeadLetterOpen {
		err = badParameter{"state", "must be open: what is in another state is not replayed"}
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
	if !sel.permitted(c, approveReplayAll) {
		return
	}
	sel.filter.State, sel.filter.After = hookgate.DeadLetterOpen, place.after
	if sel.filter.To.IsZero() || sel.filter.To.After(place.begun) {
		sel.filter.To = place.begun
	}
	letters, next, ok := s.selected(c, sel.filter,
		func(*hookgate.StoredDeadLetter) bool { return true })
	if ok && c.begin(target) {
		s.replay(c, letters, place, next)
	}
}

// place is where the replay of many dead letters has come to: behind which id, and when it began.
// What has become a dead letter since is left alone, or those that fail again would be replayed for
// ever.
type place struct {
	after string
	begun time.Time
}

// parsePlace reads what next said, or the id of a dead letter; from that, or from nothing, a replay
// begins now.
func parsePlace(text string) (p place, err error) {
	p.after, p.begun = text, time.Now()
	if after, begun, found := strings.Cut(text, "."); found {
		micros, err := strconv.ParseInt(begun, 10, 64)
		if err != nil {
			return p, errors.New("member after is not what an answer said as next")
		}
		p.after, p.begun = after, time.UnixMicro(micros)
	}
	return p, nil
}

// next returns the form of the place that parsePlace reads.
func (p place) next() string { return fmt.Sprintf("%s.%d", p.after, p.begun.UnixMicro()) }

// replay replays letters, as an action that has begun, and answers. They begin at a place, zero for
// a single one; next is the id to go on behind, empty if there are no more.
func (s *API) replay(c *call, letters []hookgate.StoredDeadLetter, at place, next string) {
	http.NewResponseController(c).SetWriteDeadline(time.Now().Add(replayTime + replayTimeout +
		s.config.WriteTimeout))
	answer := replayAnswer{Replayed: []replayedLetter{}, Skipped: []skippedLetter{}}
	begun := time.Now()
	for chunk := range slices.Chunk(letters, replayChunk) {
		if time.Since(begun) > replayTime {
			next = at.after
			break
		}
		done, err := s.replayChunk(c.request.Context(), chunk, &answer)
		if done > 0 {
			at.after = chunk[done-1].ID
		}
		if err != nil {
			if !at.begun.IsZero() {
				answer.Next = at.next()
			}
			s.replayFailed(c, &answer, err)
			return
		}
	}
	if next != "" {
		at.after = next
		answer.Next = at.next()
	}
	if !c.end(control.ResultDone + ": " + answer.summary()) {
		return
	}
	status := http.StatusOK
	if len(answer.Replayed) > 0 {
		status = http.StatusAccepted
	}
	c.jsonStatus(status, answer)
}

// replayFailed answers how far a replay came.
func (s *API) replayFailed(c *call, a *replayAnswer, err error) {
	if !c.end(cut(fmt.Sprintf("%s: %s, then: %v", control.ResultFailed, a.summary(), err))) {
		return
	}
	a.Status, a.RequestID = "error", c.requestID
	if errors.Is(err, hookgate.ErrFull) {
		a.Error = "the queue is at its high-water mark: try again behind next"
	} else {
		a.Error = "replaying failed; the log has the reason"
		s.log.Error("replaying failed", "request_id", c.requestID, "error", err)
	}
	c.Header()["Retry-After"] = s.retryAfter
	c.jsonStatus(http.StatusServiceUnavailable, *a)
}

// replayChunk replays letters, those of one ordering key in their order, and adds to the answer.
// done is how many there are before the first that failed; of those behind it some may have been
// replayed too, which does no harm if they are replayed again.
func (s *API) replayChunk(ctx context.Context, letters []hookgate.StoredDeadLetter,
	a *replayAnswer) (done int, err error) {
	lanes := map[string][]int{}
	for i := range letters {
		lanes[letters[i].OrderingKey] = append(lanes[letters[i].OrderingKey], i)
	}
	var mu sync.Mutex // guards a
	finished := make([]bool, len(letters))
	var stop atomic.Bool
	var replaying errgroup.Group
	for _, lane := range lanes {
		replaying.Go(func() error {
			for _, i := range lane {
				if stop.Load() {
					return nil
				}
				replayed, skipped, err := s.replayLetter(ctx, &letters[i])
				if err != nil {
					stop.Store(true)
					return err
				}
				finished[i] = true
				mu.Lock()
				if skipped != "" {
					a.Skipped = append(a.Skipped, skippedLetter{letters[i].ID, letters[i].State, skipped})
				} else {
					a.Replayed = append(a.Replayed, replayed)
				}
				mu.Unlock()
			}
			return nil
		})
	}
	err = replaying.Wait()
	for done < len(finished) && finished[done] {
		done++
	}
	return done, err
}

// replayLetter appends the replay of d to the queue, or says why that is not done.
func (s *API) replayLetter(ctx context.Context,
	d *hookgate.StoredDeadLetter) (replayed replayedLetter, skipped string, err error) {
	if why := replayable(d); why != "" {
		return replayed, why, nil
	}
	if err := ctx.Err(); err != nil {
		return replayed, "", err // the caller has gone
	}
	// An append that has begun is seen through.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), replayTimeout)
	defer cancel()
	body, err := s.reader.DeadLetterBody(ctx, d.ID)
	if errors.Is(err, hookgate.ErrNotFound) {
		return replayed, "it has just been purged", nil
	}
	if err != nil {
		return replayed, "", err
	}
	delivery := d.Replay(body, time.Now())
	receipt, err := s.queue.Append(ctx, delivery)
	if err != nil {
		return replayed, "", fmt.Errorf("append the replay of dead letter %s: %w", d.ID, err)
	}
	return replayedLetter{
		ID: d.ID, RequestID: delivery.RequestID.String(), RetryOf: d.RequestID.String(),
		JobID: fmt.Sprintf("%d:%s", receipt.Partition, receipt.Position),
	}, "", nil
}
