package ingest

import (
	"time"

	"golang.org/x/time/rate"
)

// AgeBodies makes the bodies that are arriving older. It is for tests.
func (h *Handler) AgeBodies(by time.Duration) { h.slowBodies.Age(by) }

// LogRate sets the rate of the log of rejected requests and returns how many lines are missing from
// it. It is for tests.
func (h *Handler) LogRate(r rate.Limit) (missing int64) { return h.rejections.SetRate(r) }
