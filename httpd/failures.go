package httpd

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hookgate/hookgate/admit"
)

// maxFailureReasons bounds the reasons for which the failed authentications of a source are counted apart; the schemes have a handful
// each, but a few name what they found.
const maxFailureReasons = 16

// otherReason is what is counted beyond that.
const otherReason = "other"

// authFailures counts the requests to a source that were not authenticated, by the reason that the log has too. The sender is told none.
type authFailures struct {
	mu     sync.Mutex // guards counts, for a few instructions at a time
	counts map[string]int64
}

func (f *authFailures) count(cause error) {
	reason := otherReason
	if cause != nil {
		reason = strings.TrimPrefix(cause.Error(), admit.ErrUnauthenticated.Error()+": ")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil {
		f.counts = map[string]int64{}
	}
	if _, known := f.counts[reason]; !known && len(f.counts) >= maxFailureReasons {
		reason = otherReason
	}
	f.counts[reason]++
}

// failureAnswer is how often a source's requests failed for a reason.
type failureAnswer struct {
	Reason string `json:"reason"`
	Count  int64  `json:"count"`
}

// all returns them, the most frequent first.
func (f *authFailures) all() []failureAnswer {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []failureAnswer{}
	for _, reason := range slices.Sorted(maps.Keys(f.counts)) {
		all = append(all, failureAnswer{reason, f.counts[reason]})
	}
	slices.SortStableFunc(all, func(a, b failureAnswer) int { return cmp.Compare(b.Count, a.Count) })
	return all
}
