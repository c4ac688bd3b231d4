package adminapi

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

const (
	// defaultDrain and maxDrain are the default and the longest time that a call waits for an empty
	// queue.
	defaultDrain, maxDrain = 30 * time.Second, 10 * time.Minute
	// drainInterval is how often the call asks the queue.
	drainInterval = 100 * time.Millisecond
)

// showQueue answers the state of the queue with the cause of a problem, which the health does not
// show.
func (s *API) showQueue(c *call) {
	state, cause := s.queueState(c.request.Context())
	a := api.Queue{Mode: s.settings.Mode(), QueueHealth: state}
	if cause != nil {
		a.Cause = cause.Error()
	}
	c.json(a)
}

var errUnknownDepth = errors.New("the depth is unknown")

// drain waits until nothing is queued. It changes nothing, but is an action in the trail all the
// same: it usually precedes one.
func (s *API) drain(c *call) {
	timeout, ok := c.readTimeout()
	if !ok || !c.begin("within "+timeout.String()) {
		return
	}
	http.NewResponseController(c).SetWriteDeadline(time.Now().Add(timeout + s.config.WriteTimeout))
	begun := time.Now()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	ticker := time.NewTicker(drainInterval)
	defer ticker.Stop()
	for waiting := true; ; {
		q := s.queueHealth(c.request.Context())
		switch {
		case q.Depth == nil:
			c.failed("asking the queue", errUnknownDepth)
			return
		case *q.Depth > 0 && s.settings.Mode() == control.ModeBuffer:
			if c.end(control.ResultFailed + ": the mode is buffer") {
				c.fail(http.StatusConflict,
					fmt.Sprintf("%d records are queued, and the mode is buffer,"+
						" in which the gate stores nothing; "+
						"set the mode to normal or read_only, then drain", *q.Depth))
			}
			return
		case *q.Depth == 0 || !waiting:
			result := control.ResultDone
			if *q.Depth > 0 {
				result = control.ResultFailed + ": records are left"
			}
			if c.end(result) {
				c.json(api.Drained{Drained: *q.Depth == 0, Left: *q.Depth,
					TookMS: time.Since(begun).Milliseconds()})
			}
			return
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			waiting = false
		case <-s.ending.Done():
			waiting = false
		case <-c.request.Context().Done():
			waiting = false
		}
	}
}

// readTimeout reads {"timeout":"30s"}, which is optional. If ok is false, the call is answered.
func (c *call) readTimeout() (timeout time.Duration, ok bool) {
	text := defaultDrain.String()
	members, err := readObject(c, "timeout")
	if err == nil {
		err = readMember(members, "timeout", `a time such as "30s"`, &text)
	}
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return 0, false
	}
	timeout, err = time.ParseDuration(text)
	if err != nil || timeout <= 0 || timeout > maxDrain {
		c.fail(http.StatusBadRequest, `member timeout must be a time such as "30s", at most `+
			maxDrain.String())
		return 0, false
	}
	return timeout, true
}
