package guard

import "time"

// Rule says when a value is too high and when it is low enough again. The two marks and the two
// times are what keeps it from going back and forth.
type Rule struct {
	// Limit is the value from which on it is too high; 0 turns the rule off.
	Limit float64
	// Sustain is how long it must have been so.
	Sustain time.Duration
	// Clear is the value up to which it is low enough, below Limit.
	Clear float64
	// ClearFor is how long it must have been so.
	ClearFor time.Duration
}

// readingHolds is the most that is counted of the time between two readings: a process that was
// stopped, or a machine that slept, has not watched meanwhile.
const readingHolds = 5 * time.Second

// zone is where a value lies.
type zone int

const (
	between zone = iota
	low
	high
)

func (r Rule) zone(value float64) zone {
	switch {
	case r.Limit > 0 && value >= r.Limit:
		return high
	case value <= r.Clear || r.Limit <= 0:
		return low
	}
	return between
}

// condition is a rule with what has been seen of its value.
//
//	          high for Sustain
//	quiet ──────────────────────► raised
//	  ▲                              │
//	  └──────────────────────────────┘
//	          low for ClearFor
//
// A value that cannot be read stops both clocks and moves nothing.
type condition struct {
	Rule
	raised bool
	value  float64
	known  bool // value is that of the last reading
	zone   zone
	inZone time.Duration // how long the readings have been in zone
	read   time.Time     // when it was read last; zero if the last attempt failed
}

// observe takes up a reading.
func (c *condition) observe(now time.Time, value float64, known bool) {
	if c.known = known; !known {
		c.read = time.Time{}
		return
	}
	z := c.Rule.zone(value)
	switch {
	case z != c.zone:
		c.inZone = 0
	case !c.read.IsZero():
		c.inZone += min(now.Sub(c.read), readingHolds)
	}
	c.value, c.zone, c.read = value, z, now
	switch {
	case z == high && c.inZone >= c.Sustain:
		c.raised = true
	case z == low && c.inZone >= c.ClearFor:
		c.raised = false
	}
}

// lapse takes up that there was too little to read: the clocks begin anew, and what is raised stays
// raised.
func (c *condition) lapse() { c.known, c.read, c.inZone = false, time.Time{}, 0 }

// nearness is the value in proportion to its limit: 1 and above is too high. 0 if the rule is off.
func (c *condition) nearness() float64 {
	if c.Limit <= 0 {
		return 0
	}
	return c.value / c.Limit
}
