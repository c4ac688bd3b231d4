package sqlite

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite/sqlitex"
)

const (
	// filterKeyBits is how many bits of a filter each key has when it is full, and filterHashes how many it sets: 1.2 percent
	// of the keys that are not there then look as if they were.
	filterKeyBits = 10
	filterHashes  = 4
	// leastFilter is the size of the filter of an empty table, in bytes.
	leastFilter = 1 << 20
	// scanPage is how many keys are read in one transaction when a filter is filled.
	scanPage = 8192
	// claimSize is the least that a claim takes in the file, in bytes.
	claimSize = 40
)

// filter says of most keys that are not in the claim table that they are not, and spares the look: a Bloom filter
// (B. Bloom, 1970) that hashes twice (A. Kirsch and M. Mitzenmacher, 2006). Keys are parts of a SHA-256 and need no hash.
// Removed keys stay in it. All methods may be called concurrently.
type filter struct {
	words []atomic.Uint64 // a power of two
	keys  atomic.Int64    // added, some of them twice
	// complete says that all keys of the table are in it.
	complete atomic.Bool
}

// newFilter returns an empty filter for so many keys, of at most maxBytes.
func newFilter(keys, maxBytes int64) *filter {
	size := min(max(leastFilter, keys*filterKeyBits/8), maxBytes)
	words := 1 << max(0, bits.Len64(uint64(size)/8)-1)
	if int64(words)*8 < size && int64(words)*16 <= maxBytes {
		words *= 2
	}
	return &filter{words: make([]atomic.Uint64, words)}
}

// full reports whether the filter has as many keys as it is good for.
func (f *filter) full() bool { return f.keys.Load() > int64(len(f.words))*64/filterKeyBits }

func (f *filter) add(key claimKey) {
	h, step := halves(key)
	for range filterHashes {
		f.words[h>>6&uint64(len(f.words)-1)].Or(1 << (h & 63))
		h += step
	}
	f.keys.Add(1)
}

// has is false only of a key that was never added.
func (f *filter) has(key claimKey) bool {
	h, step := halves(key)
	for range filterHashes {
		if f.words[h>>6&uint64(len(f.words)-1)].Load()&(1<<(h&63)) == 0 {
			return false
		}
		h += step
	}
	return true
}

func halves(key claimKey) (h, step uint64) {
	return binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:]) | 1
}

// fill adds all keys of the table, resting as long as it works, so that it never has more than half of a core. What is put into the table
// meanwhile must be added by whoever does.
func (f *filter) fill(ctx context.Context, readers *sqlitex.Pool) error {
	var last claimKey
	for n := scanPage; n == scanPage; {
		began := time.Now()
		var err error
		if n, err = f.addPage(ctx, readers, &last); err != nil {
			return fmt.Errorf("read claims: %w", err)
		}
		select {
		case <-time.After(time.Since(began)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.complete.Store(true)
	return nil
}

// addPage adds the keys behind last and moves that to the last of them.
func (f *filter) addPage(ctx context.Context, readers *sqlitex.Pool, last *claimKey) (n int, err error) {
	conn, err := readers.Take(ctx)
	if err != nil {
		return 0, err
	}
	defer readers.Put(conn)
	s, err := conn.Prepare("SELECT identity FROM claims WHERE identity > ? ORDER BY identity LIMIT ?")
	if err != nil {
		return 0, err
	}
	defer s.Reset()
	s.BindBytes(1, last[:])
	s.BindInt64(2, scanPage)
	for {
		if found, err := s.Step(); err != nil || !found {
			return n, err
		}
		s.ColumnBytes(0, last[:])
		f.add(*last)
		n++
	}
}
