package guard

import "time"

// Rule says when a value is too high and when it is low enough again. Two marks and two times keep
// it from switching back and forth.
type Rule struct {
	// A value of at least Limit is too high; 0 turns the rule off.
	Limit float64
	// Sustain is how long the value must stay too high for the rule to be raised.
	Sustain time.Duration
	// A value of at most Clear is low enough. Clear is below Limit.
	Clear float64
	// ClearFor is how long the value must stay low enough for the rule to clear.
	ClearFor time.Duration
}

// maxGap is the longest time between two readings that counts. A process that was stopped, or a
// machine that slept, did not observe the value meanwhile.
const maxGap = 5 * time.Second

// Zone says where a value lies between the marks of a Rule.
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

// Condition applies a Rule to a value over time. One goroutine at a time may use it.
//
//	          high for Sustain
//	quiet ──────────────────────► raised
//	  ▲                              │
//	  └──────────────────────────────┘
//	          low for ClearFor
//
// While the value cannot be read, both clocks stop and nothing changes.
type Condition struct {
	Rule
	Raised bool
	Value  float64
	Known  bool // Value is that of the last reading
	Zone   Zone
	InZone time.Duration // the time for which the readings have been in Zone
	read   time.Time     // the time of the last reading; zero if the value could not be read
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
		c.InZone += min(now.Sub(c.read), maxGap)
	}
	c.Value, c.Zone, c.read = value, z, now
	switch {
	case z == High && c.InZone >= c.Sustain:
		c.Raised = true
	case z == Low && c.InZone >= c.ClearFor:
		c.Raised = false
	}
}

// Lapse records that there was too little to judge by. Both clocks restart at zero, and a raised
// condition stays raised.
func (c *Condition) Lapse() { c.Known, c.read, c.InZone = false, time.Time{}, 0 }

// Nearness returns the value divided by its limit: from 1 on the value is too high. It is 0 if the
// rule is off.
func (c *Condition) Nearness() float64 {
	if c.Limit <= 0 {
		return 0
	}
	return c.Value / c.Limit
}
