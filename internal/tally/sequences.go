package tally

import (
	"hash/maphash"

	"github.com/hookgate/hookgate"
)

// sequenceKeys is how many ordering keys a counter remembers at least, and half of how many at
// most. Each takes some 40 bytes.
const sequenceKeys = 1 << 15

// sequences remembers the highest sequence stored under each ordering key, and finds gaps and
// inversions by it. It is for one goroutine.
//
// It knows what its owner has stored under the present lease of a partition and nothing else: the
// first event of a key after a start, or after the partition has come from another worker, is taken
// as it is, because the one before it is not known. Keys that have not been seen for long are
// forgotten: when young is full it becomes old, and what old held is dropped.
type sequences struct {
	seed       maphash.Seed
	young, old map[sequenceKey]int64
}

// sequenceKey stands for a source and an ordering key under a lease, of which the hash is enough:
// for a wrong answer two must meet by chance among 2^64.
type sequenceKey uint64

func newSequences() *sequences {
	return &sequences{seed: maphash.MakeSeed(), young: map[sequenceKey]int64{}}
}

// follows is how the sequence of an event stands to the ones before it.
type follows int

const (
	inOrder follows = iota
	afterGap
	inverted
)

// observe takes up a stored event, which must not be a duplicate. A retry comes out of its order
// by nature and says nothing of its sender.
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
