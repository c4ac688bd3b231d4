package certify

import (
	"iter"
	"math/rand/v2"
	"strconv"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/load"
)

// The kinds of requests in the ledger.
const (
	kindFirst      = "first"
	kindAtOnce     = "at_once"    // repeated right after the answer
	kindLater      = "later"      // repeated some requests later
	kindConcurrent = "concurrent" // repeated before there is an answer
	kindChanged    = "changed"    // repeated with another body
)

var repeatKinds = []string{kindAtOnce, kindLater, kindConcurrent, kindChanged}

// laterBy is the greatest number of events between an event and most of its later repetitions. One
// in longAfter of them comes anywhere up to the end of the phase.
const laterBy, longAfter = 500, 4

// plan determines the requests of a phase. They depend on its fields only.
type plan struct {
	prefix           string // of the message ids
	seed             uint64
	events, keys     int
	duplicatePercent float64
	size             int
	// maxSize is the size of the largest body; below size, all have that.
	maxSize int
	// gzipPercent is the share of events that are sent compressed.
	gzipPercent float64
	// names are the numbers in the names of the keys; nil means 0, 1, 2 and so on.
	names []int
}

// keysOfShare returns the first n numbers of keys that a gate takes at a percentage of its canary;
// nil at 100 percent, where it takes all.
func keysOfShare(prefix string, n, percent int) (names []int) {
	if percent >= 100 {
		return nil
	}
	for i := 0; len(names) < n; i++ {
		if control.CanaryIncludes(keyName(prefix, i), percent) {
			names = append(names, i)
		}
	}
	return names
}

func keyName(prefix string, i int) string { return prefix + "key-" + strconv.Itoa(i) }

// repeats is the number of repetitions.
func (p plan) repeats() int { return int(float64(p.events)*p.duplicatePercent/100 + 0.5) }

// requests is the number of requests.
func (p plan) requests() int { return p.events + p.repeats() }

// messages yields the requests. Repetitions are spread evenly and alternate between their kinds. A
// repetition that would be after the last event comes at the end.
func (p plan) messages() iter.Seq2[load.Message, error] {
	return func(yield func(load.Message, error) bool) {
		rng := rand.New(rand.NewPCG(p.seed, 1))
		type later struct {
			event int
			kind  string
		}
		waiting := map[int][]later{} // by the event that they follow
		left, kind := p.repeats(), 0
		var body, packed []byte
		send := func(event int, kind string) bool {
			body = p.body(body[:0], event, kind == kindChanged)
			_, _, follows := p.place(event)
			m := load.Message{Body: body, Kind: kind, Together: kind == kindConcurrent,
				Follows: follows && kind == kindFirst}
			// A changed one comes without: its identity is that of the first all the same.
			if p.gzipped(event) && kind != kindChanged {
				packed = appendGzip(packed[:0], body)
				m.Gzip = packed
			}
			return yield(m, nil)
		}
		flush := func(n int) bool {
			for _, r := range waiting[n] {
				if !send(r.event, r.kind) {
					return false
				}
			}
			delete(waiting, n)
			return true
		}
		for n := range p.events {
			if !send(n, kindFirst) {
				return
			}
			if rng.IntN(p.events-n) < left { // selection sampling, for the exact number
				left--
				k := repeatKinds[kind%len(repeatKinds)]
				kind++
				if k == kindAtOnce || k == kindConcurrent {
					if !send(n, k) {
						return
					}
				} else {
					most := laterBy
					if rng.IntN(longAfter) == 0 {
						most = max(laterBy, p.events-n)
					}
					after := n + 1 + rng.IntN(most-1)
					waiting[after] = append(waiting[after], later{n, k})
				}
			}
			if !flush(n) {
				return
			}
		}
		for i := range laterBy {
			if !flush(p.events + i) {
				return
			}
		}
	}
}
