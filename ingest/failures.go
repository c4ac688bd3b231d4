package ingest

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/internal/httpserver"
)

// maxRefusalReasons bounds the reasons that are counted for each status of a source. Each status
// has its own, so that a stranger, who gets 401, cannot use up those of the sender.
const maxRefusalReasons = 16

// otherReason counts what is beyond that.
const otherReason = "other"

// refusalReasons counts the refused requests of a source by status and reason.
type refusalReasons struct {
	mu      sync.Mutex // guards the maps, for a few instructions at a time
	counts  map[refusalReason]int64
	reasons map[int]int // how many each status has in counts
}

type refusalReason struct {
	status int
	text   string
}

func (f *refusalReasons) count(refused *refusal) {
	one := refusalReason{refused.status, httpserver.Printable(cmp.Or(refused.class, refused.told),
		2*httpserver.MaxLogged)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil {
		f.counts, f.reasons = map[refusalReason]int64{}, map[int]int{}
	}
	if _, known := f.counts[one]; !known {
		if f.reasons[one.status] >= maxRefusalReasons {
			one.text = otherReason
		} else {
			f.reasons[one.status]++
		}
	}
	f.counts[one]++
}

// classOf is the reason of a request that was not authenticated, without what differs from one to
// the next.
func classOf(err error) string {
	text := strings.TrimPrefix(err.Error(), admit.ErrUnauthenticated.Error()+": ")
	var malformed *admit.MalformedError
	if errors.As(err, &malformed) {
		text = strings.Replace(text, malformed.Error(), malformed.Class(), 1)
	}
	return text
}

// RefusalCount is how often the requests of a source were refused with a status and reason.
type RefusalCount struct {
	Status int
	Reason string
	Count  int64
}

// all returns the reasons, the most frequent first.
func (f *refusalReasons) all() (all []RefusalCount) {
	f.mu.Lock()
	for r, n := range f.counts {
		all = append(all, RefusalCount{r.status, r.text, n})
	}
	f.mu.Unlock()
	slices.SortFunc(all, func(a, b RefusalCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Status, b.Status),
			strings.Compare(a.Reason, b.Reason))
	})
	return all
}
