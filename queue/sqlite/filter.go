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
	// filterKeyBits is how many bits of a filter each key has when it is full, and filterProbes how many it sets, all of them in one
	// block, which is a line of the processor's cache: 1.5 percent of the keys that are not there then look as if they were.
	filterKeyBits = 10
	filterProbes  = 4
	blockWords    = 8
	// leastFilter is the size of the filter of an empty table, in bytes.
	leastFilter = 1 << 20
	// scanPage is how many keys are read in one transaction when a filter is filled.
	scanPage = 8192
	// claimSize is the least that a claim takes in the file, in bytes.
	claimSize = 40
	// fillRest is how long filling rests for the time that it works.
	fillRest = 4
)

// filter says of most keys that are not in the claim table that they are not, and spares the look: a blocked Bloom filter
// (B. Bloom, 1970; F. Putze, P. Sanders and J. Singler, 2007). Keys are parts of a SHA-256 and need no hash.
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
	words := max(blockWords, 1<<max(0, bits.Len64(uint64(size)/8)-1))
	if int64(words)*8 < size && int64(words)*16 <= maxBytes {
		words *= 2
	}
	return &filter{words: make([]atomic.Uint64, words)}
}

// full reports whether the filter has as many keys as it is good for.
func (f *filter) full() bool { return f.keys.Load() > int64(len(f.words))*64/filterKeyBits }

func (f *filter) add(key claimKey) {
	block, probes := f.place(key)
	for range filterProbes {
		block[probes>>6%blockWords].Or(1 << (probes % 64))
		probes >>= 9
	}
	f.keys.Add(1)
}

// has is false only of a key that was never added.
func (f *filter) has(key claimKey) bool {
	block, probes := f.place(key)
	for range filterProbes {
		if block[probes>>6%blockWords].Load()&(1<<(probes%64)) == 0 {
			return false
		}
		probes >>= 9
	}
	return true
}

// place returns a key's block, and its bits in that, nine bits for each.
func (f *filter) place(key claimKey) (block []atomic.Uint64, probes uint64) {
	blocks := uint64(len(f.words) / blockWords)
	i := binary.LittleEndian.Uint64(key[:8]) % blocks * blockWords
	return f.words[i : i+blockWords], binary.LittleEndian.Uint64(key[8:])
}

// fill adds all keys of the table, and rests in between, so that it never has more than a fifth of a core. What is put into the table
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
		case <-time.After(fillRest * time.Since(began)):
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
