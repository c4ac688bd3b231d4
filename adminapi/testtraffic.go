package adminapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

const (
	// testsStep is how many events one transaction removes at most. It takes a few milliseconds, in
	// which the embedded store cannot store anything else.
	testsStep = 256
	// testsPause is the shortest pause between two steps. A pause is testsShare times as long as the
	// step before it, so that events are stored in between.
	testsPause, testsShare = 10 * time.Millisecond, 4
	// testsTime bounds the steps that one call takes.
	testsTime = 5 * time.Second
)

// removeTests removes the bodies of test traffic, step by step.
func (s *API) removeTests(c *call) {
	if _, err := readObject(c); err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	if s.settings.Mode() == control.ModeBuffer {
		c.fail(http.StatusConflict, "the mode is buffer, in which the gate does not use the store; "+
			"set the mode to normal or read_only, then repeat the call")
		return
	}
	if !c.alone(&s.removing, "another removal of test traffic is running") {
		return
	}
	defer s.removing.Unlock()
	if !c.begin("source " + hookgate.TestSource) {
		return
	}
	last := time.Now().Add(testsTime + purgeTimeout + s.config.WriteTimeout)
	http.NewResponseController(c).SetWriteDeadline(last)
	answer := api.RemovedTests{More: true}
	for end := time.Now().Add(testsTime); answer.More; {
		start := time.Now()
		step, err := s.purgeTests(c)
		if err != nil {
			if answer.Removed > 0 {
				err = fmt.Errorf("%d events removed, then: %w", answer.Removed, err)
			}
			c.failed("removing test traffic", err)
			return
		}
		answer.Removed += step.Events
		answer.More = step.More
		if time.Now().After(end) || !s.pauseTests(c, time.Since(start)) {
			break
		}
	}
	if c.end(fmt.Sprintf("%s: %d removed", control.ResultDone, answer.Removed)) {
		c.json(answer)
	}
}

// purgeTests takes one step. It does not end with the call, because its outcome would then be
// unknown.
func (s *API) purgeTests(c *call) (hookgate.Pruned, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.request.Context()), purgeTimeout)
	defer cancel()
	return s.purger.PurgeTests(ctx, testsStep)
}

// pauseTests pauses after a step that took so long. It returns false if no other step may follow.
func (s *API) pauseTests(c *call, took time.Duration) bool {
	select {
	case <-time.After(max(testsPause, testsShare*took)):
		return s.settings.Mode() != control.ModeBuffer
	case <-c.request.Context().Done():
	case <-s.ending.Done():
	}
	return false
}
