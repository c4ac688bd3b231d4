package dashboard

import "time"

const (
	// slotTime is the length of one slot of a source's day, daySlots the number of slots.
	slotTime = 5 * time.Minute
	daySlots = 288
)

// Slot counts the answers that a source got in five minutes.
type Slot struct {
	// Taken: 2xx; Unauthenticated: 401; Refused: other 4xx; Unavailable: 5xx.
	Taken, Unauthenticated, Refused, Unavailable uint32
}

// day is the last 24 hours of a source in a fixed amount of memory.
type day struct {
	slots [daySlots]Slot
	last  int64 // number, since 1970, of the slot that is being filled; 0 if none is
}

func (d *day) add(at time.Time, status int, n int64) {
	slot := d.advance(at)
	if n <= 0 {
		return
	}
	switch {
	case status/100 == 2:
		slot.Taken += uint32(n)
	case status == 401:
		slot.Unauthenticated += uint32(n)
	case status/100 == 5:
		slot.Unavailable += uint32(n)
	default:
		slot.Refused += uint32(n)
	}
}

// advance returns the slot of a time, after emptying those between the last one and it. If the
// clock went back it is the last.
func (d *day) advance(at time.Time) *Slot {
	n := at.Unix() / int64(slotTime/time.Second)
	if n-d.last >= daySlots {
		d.slots, d.last = [daySlots]Slot{}, n
	}
	for ; d.last < n; d.last++ {
		d.slots[(d.last+1)%daySlots] = Slot{}
	}
	return &d.slots[d.last%daySlots]
}

// Day is the traffic of one source in the last 24 hours, or since the start.
type Day struct {
	// Slots are five minutes each, the oldest first; the first begins at Begin.
	Slots []Slot
	Begin time.Time
	// Total adds them up.
	Total Slot
}

func (d *day) until(now time.Time) (all Day) {
	d.advance(now)
	all.Begin = time.Unix((d.last-daySlots+1)*int64(slotTime/time.Second), 0).UTC()
	for i := int64(1); i <= daySlots; i++ {
		s := d.slots[(d.last+i)%daySlots]
		all.Slots = append(all.Slots, s)
		all.Total.Taken += s.Taken
		all.Total.Unauthenticated += s.Unauthenticated
		all.Total.Refused += s.Refused
		all.Total.Unavailable += s.Unavailable
	}
	return all
}
