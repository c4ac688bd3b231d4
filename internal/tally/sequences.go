package tally

import (
	"hash/maphash"

	"github.com/hookgate/hookgate"
)

// sequenceKeys is the smallest number of ordering keys that a counter remembers; the largest is
// twice that. Each takes about 40 bytes.
const sequenceKeys = 1 << 15

// sequences remembers the highest stored sequence of each ordering key, to find gaps and
// inversions. It is for one goroutine.
//
// It knows only the events that its owner has stored under the current lease of a partition. So it
// accepts the first event of a key after a start, or after the partition came from another worker,
// in any case. It forgets keys that have not occurred for long: when young is full, it becomes old
// and replaces the previous old.
type sequences struct {
	seed       maphash.Seed
	young, old map[sequenceKey]int64
}

// sequenceKey is the hash of a source and an ordering key under a lease. Only a collision among
// 2^64 gives a wrong answer.
type sequenceKey uint64

func newSequences() *sequences {
	return &sequences{seed: maphash.MakeSeed(), young: map[sequenceKey]int64{}}
}

// follows says how the sequence of an event follows those before it.
type follows int

const (
	inOrder follows = iota
	afterGap
	inverted
)

// observe compares a stored event, which must not be a duplicate, with those before it. It ignores
// retries of dead letters, because they come out of order.
func (s *sequences) observe(r *hookgate.Record) follows {
	if r.Sequence == hookgate.NoSequence || !r.RetryOf.IsZero() {
		return inOrder
	}
	key := sequenceKey(maphash.Comparable(s.seed, struct {
		source, key string
		partition   int
		lease       uint64
	}{r.Source, r.OrderingKey, r.Partition, r.Lease}))
	highest, known := s.young[key]
	if !known {
		highest, known = s.old[key]
		if len(s.young) >= sequenceKeys {
			s.old, s.young = s.young, make(map[sequenceKey]int64, sequenceKeys)
		}
	}
	switch {
	case known && r.Sequence < highest:
		s.young[key] = highest
		return inverted
	case known && r.Sequence > highest+1:
		s.young[key] = r.Sequence
		return afterGap
	}
	s.young[key] = r.Sequence
	return inOrder
}
