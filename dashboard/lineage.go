package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate/api"
)

// requestsShown is how many requests with one message id a page shows.
const requestsShown = 50

// lineage is the lineage of one request on a page.
type lineage struct {
	RequestID string
	// Own is true for the request of the event or dead letter that the page shows.
	Own    bool
	Stages []stage
	// Lanes are what the subscriptions did with the event, by name of the subscription.
	Lanes []lane
	// Took is from the first stage to the last.
	Took    time.Duration
	Outcome string
}

type stage struct {
	Name string
	At   time.Time
	// Since is the time since the stage before; zero for the first.
	Since time.Duration
	First bool
	// Share is Since in hundredths of the longest in its request, for a bar.
	Share int
	// Notes are the rest of the stage, in words.
	Notes []string
	// Level is the colour of a stage that is an outcome.
	Level string
}

// failedStep names an attempt that failed and is followed by others.
const failedStep = "failed"

// stageNames has the stages in words.
var stageNames = map[string]struct{ name, level string }{
	"received": {"received", ""}, "replayed": {"replayed by a person", ""},
	"spooled": {"spooled locally", ""}, "enqueued": {"durable, 202 sent", ""},
	"processed": {"taken up", ""}, "retried": {"stored at a later attempt", "warn"},
	"persisted": {"stored", "good"},
	"duplicate": {"found to be a duplicate", "warn"}, "dead_lettered": {"dead letter", "bad"},
	"purged": {"purged", "bad"}, "removed": {"removed by retention", "warn"},
	"delivered": {"delivered", "good"}, "redelivered": {"delivered again", "good"},
	"attempt_failed": {failedStep, "warn"}, "parked": {"failed, then parked", "bad"},
	"skipped": {"skipped by a person", "warn"},
}

// noteNames has the members of a stage's metadata in words.
var noteNames = []struct{ member, label string }{
	{"remoteAddr", "from"}, {"replayOf", "retry of request"}, {"partition", "partition"},
	{"position", "position"}, {"worker", "worker"},
	{"attempts", "attempts"}, {"lastError", "last error"}, {"firstRequestId", "first was request"},
	{"reason", "reason"}, {"by", "by"}, {"batch", "batch"},
}

// readLineage reads the lineage of the first requests with an identity. others counts the requests
// that had the message id but another identity. more reports whether there are more requests.
func readLineage(ctx context.Context, v *Visitor, source, eventType, messageID,
	own string) (all []lineage, others int, more bool, err error) {
	var a api.Trace
	path := fmt.Sprintf("/api/trace/%s?limit=%d", url.PathEscape(messageID), requestsShown)
	if err := v.Get(ctx, path, &a); err != nil {
		return nil, 0, false, err
	}
	for i := range a.Requests {
		r := &a.Requests[i]
		if r.Source != source || r.EventType != eventType {
			others++
			continue
		}
		all = append(all, lineageOf(r, own))
	}
	return all, others, a.Next != "", nil
}

func lineageOf(r *api.RequestTrail, own string) lineage {
	l := lineage{RequestID: r.RequestID, Own: r.RequestID == own}
	longest := time.Duration(1)
	for i := range r.Stages {
		s := &r.Stages[i]
		if l.addStep(s) {
			continue
		}
		known, ok := stageNames[string(s.Stage)]
		if !ok {
			known.name = string(s.Stage)
		}
		one := stage{Name: known.name, Level: known.level, At: s.Timestamp.Time,
			First: len(l.Stages) == 0, Notes: notes(s.Metadata)}
		if n := len(l.Stages); n > 0 {
			one.Since = one.At.Sub(l.Stages[n-1].At)
			longest = max(longest, one.Since)
		}
		l.Stages = append(l.Stages, one)
		l.Outcome = known.name
	}
	for i := range l.Stages {
		l.Stages[i].Share = int(100 * max(l.Stages[i].Since, 0) / longest)
	}
	if n := len(l.Stages); n > 0 {
		l.Took = l.Stages[n-1].At.Sub(l.Stages[0].At)
	}
	return l
}

// notes returns the metadata of a stage in words.
func notes(metadata json.RawMessage) (all []string) {
	var members map[string]any
	numbers := json.NewDecoder(bytes.NewReader(metadata))
	numbers.UseNumber()
	if numbers.Decode(&members) != nil {
		return nil
	}
	for _, n := range noteNames {
		if value := fmt.Sprint(members[n.member]); members[n.member] != nil && value != "" {
			all = append(all, n.label+" "+value)
		}
		delete(members, n.member)
	}
	delete(members, "event")
	var rest []string
	for name, value := range members {
		rest = append(rest, fmt.Sprintf("%s %v", name, value))
	}
	slices.Sort(rest)
	return append(all, rest...)
}

// took writes a duration in a unit that suits it.
func took(d time.Duration) string {
	switch sign := ""; {
	case d < 0:
		sign = "−"
		return sign + took(-d)
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return trimmed(d.Seconds()*1000, "ms")
	case d < time.Minute:
		return trimmed(d.Seconds(), "s")
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

func trimmed(x float64, unit string) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", x), "0"), ".") + " " + unit
}
