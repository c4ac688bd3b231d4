package certify

import (
	"cmp"
	"fmt"
	"slices"
)

// orderReport is ordering.json.
type orderReport struct {
	Keys int `json:"keys"`
	// Judged counts the events that follow another event of their key.
	Judged     int        `json:"judged"`
	Inversions violations `json:"inversions"`
	// Gaps counts the acknowledged events that are missing between stored ones of their key. They
	// also count as not stored.
	Gaps int `json:"gaps"`
}

// checkOrder checks the order of events with one ordering key. If the sender had the 202 for A
// before it sent B, A is stored before B. places are the stored events in their order.
func checkOrder(a *account, places []int32) (r orderReport) {
	r.Keys = len(a.keys)
	type latest struct {
		begun int64 // the latest time at which one of the earlier stored events was sent
		event int32
	}
	last := map[int32]latest{}
	lastSequence := map[int32]int64{}
	for _, i := range places {
		e := &a.events[i]
		before, ok := last[e.key]
		begun := a.begun(e)
		if ok {
			r.Judged++
			if acknowledged, ok := a.acknowledged(e); ok && acknowledged < before.begun {
				r.Inversions.add("%s is stored behind %s of the same key, which was sent after "+
					"it had been acknowledged",
					e.messageID, a.events[before.event].messageID)
			}
		}
		if !ok || begun > before.begun {
			last[e.key] = latest{begun, i}
		}
		lastSequence[e.key] = max(lastSequence[e.key], e.sequence)
	}
	a.checkOrderInKeys(&r, places)
	a.checkPlaces(&r, places)
	for i := range a.events {
		if e := &a.events[i]; e.accepted && !e.stored && e.sequence < lastSequence[e.key] {
			r.Gaps++
		}
	}
	return r
}

// checkPlaces compares the position with which an event is listed with the job id of its 202. An
// event that was spooled got its position in the queue later.
func (a *account) checkPlaces(r *orderReport, places []int32) {
	for _, n := range places {
		e := &a.events[n]
		i, ok := a.byID[e.storedID]
		if !ok || e.spooled || e.partition == noPlace {
			continue
		}
		q := &a.requests[i]
		listed := fmt.Sprintf("%d:%s", e.partition, e.position)
		if q.event == n && q.accepted && q.timed && q.job != 0 && q.job != jobHash(listed) {
			r.Inversions.add("%s (line %d) was acknowledged with another job id than the partition and "+
				"position %s with which it is listed", e.messageID, q.line, listed)
		}
	}
}

// checkOrderInKeys compares the events of each key, in the order in which they were sent, by the
// times of their trails and by their positions in the queue. A listing that was sorted again shows
// the right order, and these do not.
func (a *account) checkOrderInKeys(r *orderReport, places []int32) {
	order := slices.Clone(places)
	slices.SortFunc(order, func(i, j int32) int {
		a1, a2 := &a.events[i], &a.events[j]
		return cmp.Or(cmp.Compare(a1.key, a2.key), cmp.Compare(a.begun(a1), a.begun(a2)))
	})
	// Of the events of the key that were acknowledged so far: the one that was persisted last by each
	// clock, and the one with the last position.
	persisted, last := map[int32]*event{}, (*event)(nil)
	for n, i := range order {
		e := &a.events[i]
		if n > 0 && a.events[order[n-1]].key != e.key {
			clear(persisted)
			last = nil
		}
		for _, before := range persisted {
			slack := int64(0)
			if before.worker != e.worker {
				slack = clockSlack.Microseconds()
			}
			if e.persisted != noTime && e.persisted < before.persisted-slack && a.follows(e, before) {
				r.Inversions.add("%s was persisted %s, by its trail, before %s of the same key %s, which "+
					"had been acknowledged before it was sent", e.messageID, instant(e.persisted),
					before.messageID, instant(before.persisted))
			}
		}
		placed := e.partition != noPlace && !e.spooled
		if placed && last != nil && e.partition == last.partition &&
			e.position.Compare(last.position) <= 0 && a.follows(e, last) {
			r.Inversions.add("%s has the position %s in partition %d, not behind %s of the same key at "+
				"%s, which had been acknowledged before it was sent", e.messageID, e.position,
				e.partition, last.messageID, last.position)
		}
		if !e.accepted {
			continue
		}
		before := persisted[e.worker]
		if e.persisted != noTime && (before == nil || before.persisted <= e.persisted) {
			persisted[e.worker] = e
		}
		if placed && (last == nil || last.partition != e.partition ||
			last.position.Compare(e.position) < 0) {
			last = e
		}
	}
}

// follows reports whether e was sent after the other event had been acknowledged.
func (a *account) follows(e, other *event) bool {
	acknowledged, ok := a.acknowledged(other)
	return ok && acknowledged < a.begun(e)
}
