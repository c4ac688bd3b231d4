package attention

import (
	"context"
	"fmt"
	"time"
)

// clockTolerance is the permitted difference between the clocks of several machines.
const clockTolerance = time.Second

// Clock compares this machine's clock with the last event id of the store. An id is the time in
// microseconds since 1970, or the previous id plus one if the clock is behind that. A clock that
// stays behind is wrong now, or was wrong before.
type Clock struct{ behind cache[time.Duration] }

// NewClock returns a Clock over a function that returns the last id of the store.
func NewClock(lastID func(context.Context) (int64, error)) *Clock {
	return &Clock{cache[time.Duration]{read: func(ctx context.Context) (time.Duration, error) {
		last, err := lastID(ctx)
		return max(0, time.Until(time.UnixMicro(last))), err
	}}}
}

// Behind returns how far the clock is behind the last id; 0 if it is not. The result can be some
// seconds old. known is false if the last query failed.
func (c *Clock) Behind(ctx context.Context) (behind time.Duration, known bool) {
	return c.behind.get(ctx)
}

// Items is a Source: one item while the clock is behind.
func (c *Clock) Items(ctx context.Context) []Item {
	behind, known := c.Behind(ctx)
	if !known || behind < clockTolerance {
		return nil
	}
	return []Item{{
		Name: "clock_behind", Count: 1,
		Text: fmt.Sprintf("The clock is %v behind the last event of the store: correct it; until then"+
			" ids of new"+
			" events do not show their time",
			behind.Round(time.Second)),
	}}
}
