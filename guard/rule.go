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

// Zone is where a value lies.
type Zone int

// The zones of a Rule.
const (
	Between Zone = iota // above Clear and below Limit
	Low
	High
)

// ZoneOf returns the zone of a value.
func (r Rule) ZoneOf(value float64) Zone {
	switch {
	case r.Limit > 0 && value >= r.Limit:
		return High
	case value <= r.Clear || r.Limit <= 0:
		return Low
	}
	return Between
}

// Condition is a rule with what it has observed of its value. It is for one goroutine at a time.
//
//	          high for Sustain
//	quiet ──────────────────────► raised
//	  ▲                              │
//	  └──────────────────────────────┘
//	          low for ClearFor
//
// A value that cannot be read stops both clocks and moves nothing.
type Condition struct {
	Rule
	Raised bool
	Value  float64
	Known  bool // Value is that of the last reading
	Zone   Zone
	InZone time.Duration // how long the readings have been in Zone
	read   time.Time     // when it was read last; zero if the last attempt failed
}

// Observe acts on a reading.
func (c *Condition) Observe(now time.Time, value float64, known bool) {
	if c.Known = known; !known {
		c.read = time.Time{}
		return
	}
	z := c.Rule.ZoneOf(value)
	switch {
	case z != c.Zone:
		c.InZone = 0
	case !c.read.IsZero():
		c.InZone += min(now.Sub(c.read), readingHolds)
	}
	c.Value, c.Zone, c.read = value, z, now
	switch {
	case z == High && c.InZone >= c.Sustain:
		c.Raised = true
	case z == Low && c.InZone >= c.ClearFor:
		c.Raised = false
	}
}

// Lapse records that there was too little to read. Both clocks start again at zero, and a raised
// condition stays raised.
func (c *Condition) Lapse() { c.Known, c.read, c.InZone = false, time.Time{}, 0 }

// Nearness is the value in proportion to its limit: 1 and above is too high. It is 0 if the rule is
// off.
func (c *Condition) Nearness() float64 {
	if c.Limit <= 0 {
		return 0
	}
	return c.Value / c.Limit
}
