package certify

import (
	"fmt"
	"slices"
	"time"

	"github.com/hookgate/hookgate/load"
)

// clockSlack allows for clocks that differ among the machines of a target, and for clocks that are
// adjusted during a run. It is small against what a wrong time costs, and large against what a
// network time service leaves.
const clockSlack = 2 * time.Second

// timesReport is times.json: the times that the target reports, against those of the client.
type timesReport struct {
	// SkewSeconds is how far the target's clock is ahead of the client's, by the times at which the
	// target says it received requests; negative if it is behind. It is 0 if the times fit as they
	// are.
	SkewSeconds float64 `json:"skewSeconds"`
	// DateSkewSeconds is the same by the Date of its answers, which may be that of a proxy; null if
	// no answer had one.
	DateSkewSeconds *float64   `json:"dateSkewSeconds"`
	Violations      violations `json:"violations"`
}

// offset is how far a time of the target is outside of a span of the client's clock, in
// microseconds.
func offset(t, from, to int64) int64 {
	return min(t-from, 0) + max(t-to, 0)
}

// dateOffset returns the offset of the Date of an answer, whose clock is cut off to the second.
func dateOffset(at *load.Attempt) (us int64, ok bool) {
	if at.Answer == nil {
		return 0, false
	}
	date, err := time.Parse(time.RFC1123, at.Answer.Date)
	return offset(date.UnixMicro(), at.Sent.UnixMicro()-time.Second.Microseconds(),
		end(at).UnixMicro()), err == nil
}

// median returns the median of offsets; 0 if there are none. It sorts them.
func median(us []int64) int64 {
	if len(us) == 0 {
		return 0
	}
	slices.Sort(us)
	return us[len(us)/2]
}

// checkTimes checks the times of the trails and of the listing. A request was received between its
// sending and its answer. Nothing happened after it was read, and an event is listed with the times
// of its trail. read is when reading ended; the zero time if that is not known.
func checkTimes(a *account, dates []int64, read time.Time, limits Profile) (r timesReport) {
	var offsets []int64
	for i := range a.requests {
		if q := &a.requests[i]; q.timed && q.accepted {
			offsets = append(offsets, offset(q.received, q.sent, q.end))
		}
	}
	skew, byDate := median(offsets), median(dates)
	if len(dates) > 0 {
		s := round(float64(byDate) / 1e6)
		r.DateSkewSeconds = &s
	}
	slack := clockSlack.Microseconds()
	agrees := len(dates) > 0 && max(skew-byDate, byDate-skew) <= slack
	known := max(skew, -skew) <= int64(limits.ClockSeconds*1e6) || agrees
	if max(skew, -skew) <= slack || !known {
		skew = 0 // the times fit, or are wrong
	}
	r.SkewSeconds = round(float64(skew) / 1e6)
	latest := int64(1<<63 - 1)
	if !read.IsZero() {
		latest = read.UnixMicro() + slack + skew
	}
	// received checks a time of receipt.
	received := func(q *request, us int64, what string) {
		to := q.end + slack + skew
		if !q.accepted {
			to = latest
		}
		if from := q.sent - slack + skew; us < from || us > to {
			r.Violations.add("%s (line %d) %s %s, and was sent %s and answered %s",
				a.events[q.event].messageID, q.line, what, instant(us), instant(q.sent), instant(q.end))
		}
	}
	for i := range a.requests {
		q := &a.requests[i]
		if !q.timed {
			continue
		}
		received(q, q.received, "was received, by its trail,")
		if q.ended > latest {
			r.Violations.add("%s (line %d): its trail ends %s, and was read %s",
				a.events[q.event].messageID, q.line, instant(q.ended), instant(read.UnixMicro()))
		}
	}
	for i := range a.events {
		if e := &a.events[i]; e.stored {
			a.checkListedTimes(&r, e, latest, received)
		}
	}
	return r
}

// checkListedTimes checks the times with which an event is listed.
func (a *account) checkListedTimes(r *timesReport, e *event, latest int64,
	received func(q *request, us int64, what string)) {
	var q *request // that brought it
	if i, ok := a.byID[e.storedID]; ok && a.requests[i].event == e.index(a) {
		q = &a.requests[i]
	}
	name := e.messageID
	switch {
	case e.receivedAt == noTime || e.persistedAt == noTime:
		r.Violations.add("%s is listed without receivedAt or persistedAt", name)
	case e.persistedAt < e.receivedAt:
		r.Violations.add("%s is listed as persisted %s, before it was received %s", name,
			instant(e.persistedAt), instant(e.receivedAt))
	case e.persistedAt > latest:
		r.Violations.add("%s is listed as persisted %s, after it was read", name,
			instant(e.persistedAt))
	case q == nil: // the answer to it was lost
	case q.traced && !q.timed: // lineage reports it
	case !q.timed:
		received(q, e.receivedAt, "is listed as received")
	case e.receivedAt != q.received || e.persistedAt != q.ended:
		r.Violations.add("%s is listed as received %s and persisted %s, its trail says %s and %s",
			name, instant(e.receivedAt), instant(e.persistedAt), instant(q.received), instant(q.ended))
	}
}

// instant is a time of an account for people.
func instant(us int64) string { return "at " + time.UnixMicro(us).UTC().Format(time.RFC3339Nano) }

// times makes the criterion.
func (j *judging) times(r *timesReport) {
	c := j.none("times", "times of the target that cannot be true", r.Violations, "times", timesFile)
	skew := r.SkewSeconds
	if skew == 0 {
		return
	}
	c.Note = fmt.Sprintf("the target's clock is %g s ahead of the client's", skew)
	if skew < 0 {
		c.Note = fmt.Sprintf("the target's clock is %g s behind the client's", -skew)
	}
	if limit := j.profile.ClockSeconds; c.Status == Pass && max(skew, -skew) > limit {
		c.invalidate("%s; set the clocks, or clock_s of the profile", c.Note)
	}
}
