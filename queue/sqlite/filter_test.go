package sqlite

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/internal/sqlitedb"
)

// keptAt is a time at which the claims of these tests are valid.
var keptAt = time.Now()

// mustWriter opens the file of a queue that is closed.
func mustWriter(t *testing.T, path string) *sqlite.Conn {
	t.Helper()
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func randomKey() (k claimKey) {
	binary.NativeEndian.PutUint64(k[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(k[8:], rand.Uint64())
	return k
}

// TestFilter: what was added is always there; of what was not, a filter that is full takes as many for known as the formula
// says: (1-(1-1/512)^(kj))^k in a block with j keys, whose number is Poisson's. The bound is five standard deviations away.
func TestFilter(t *testing.T) {
	for _, maxBytes := range modeltest.Pick([]int64{leastFilter + 7}, []int64{leastFilter, leastFilter + 7, 3 << 19}) {
		f := newFilter(0, maxBytes)
		if size := int64(len(f.words) * 8); size != leastFilter {
			t.Fatalf("a filter of at most %d bytes has %d", maxBytes, size)
		}
		var added []claimKey
		for !f.full() {
			k := randomKey()
			f.add(k)
			added = append(added, k)
		}
		for _, k := range added {
			if !f.has(k) {
				t.Fatalf("key %x was added and is not there", k)
			}
		}
		tries := modeltest.Pick(20_000, 200_000)
		seeming := 0
		for range tries {
			if f.has(randomKey()) {
				seeming++
			}
		}
		const k, blockBits = filterProbes, blockWords * 64
		mean := float64(len(added)) / float64(len(f.words)/blockWords)
		share, chance := 0.0, math.Exp(-mean)
		for j := 1.0; j < 10*mean; j++ {
			chance *= mean / j
			share += chance * math.Pow(1-math.Pow(1-1.0/blockBits, k*j), k)
		}
		if most := float64(tries)*share + 5*math.Sqrt(float64(tries)*share); float64(seeming) > most {
			t.Errorf("%d of %d keys that were not added seem to be there, want at most %.0f", seeming, tries, most)
		}
	}
}

// TestFilterSize: a filter has room for its keys, within the limit, whatever that is.
func TestFilterSize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.Int64Range(0, 1<<24).Draw(t, "keys")
		maxBytes := rapid.Int64Range(1, 1<<22).Draw(t, "max bytes")
		f := newFilter(keys, maxBytes)
		size := int64(len(f.words)) * 8
		if size > max(maxBytes, 8*blockWords) {
			t.Fatalf("filter has %d bytes of at most %d", size, maxBytes)
		}
		if want := min(max(leastFilter, keys*filterKeyBits/8), maxBytes) / 2; size < want {
			t.Fatalf("filter has %d bytes, fewer than half of what %d keys and the limit allow", size, keys)
		}
		f.add(randomKey())
	})
}

// TestFilterOfTable: a filter is filled with the claims that are in the file and with those that come while it is filled, takes the place of
// one that is full, and with all that every claim is still found.
func TestFilterOfTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := mustOpen(t, path, Options{Partitions: 1})
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	conn := mustWriter(t, path)
	table, err := newClaimTable(conn, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	readers, err := sqlitedb.OpenReaders(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer readers.Close()
	var keys []claimKey
	put := func(n int) {
		t.Helper()
		if err := sqlitedb.Tx(conn, func() error {
			for range n {
				k := randomKey()
				if err := table.insert(k, claim{claimedAt: math.MaxInt64}); err != nil {
					return err
				}
				keys = append(keys, k)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		for _, k := range keys {
			if _, found, err := table.lookup(k, keptAt); err != nil || !found {
				t.Fatalf("%s claim %x is not found (%v)", when, k, err)
			}
		}
	}
	put(scanPage + 100) // more than one page
	var begun *filter
	table.refill = func() *filter { begun = newFilter(0, leastFilter/64); return begun }
	table.renewFilter()
	if begun == nil || table.next != begun {
		t.Fatal("no filter is begun although there is none")
	}
	check("before a filter is complete")
	put(50)
	if err := begun.fill(t.Context(), readers); err != nil {
		t.Fatal(err)
	}
	first := begun
	table.renewFilter()
	if table.filter != first || table.next != nil {
		t.Fatal("the filter is not used although it is complete")
	}
	check("with a filter")
	for !first.full() {
		put(1000)
	}
	table.renewFilter()
	if table.next == nil || table.next == first || table.filter != first {
		t.Fatal("a full filter is not replaced")
	}
	put(50)
	check("with a filter that is being replaced")
	if err := table.next.fill(t.Context(), readers); err != nil {
		t.Fatal(err)
	}
	table.renewFilter()
	check("with the second filter")
	missing := 0
	for range 1000 {
		if !table.filter.has(randomKey()) {
			missing++
		}
	}
	if missing == 0 {
		t.Error("the filter spares no look")
	}
}

// TestFilterOfQueue: a queue that is opened again fills its filter by itself, finds the claims of before, and can be closed in the middle of that.
func TestFilterOfQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	mustOpen(t, path, Options{Partitions: 1}).Close()
	conn := mustWriter(t, path)
	if err := sqlitex.Execute(conn, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
		INSERT INTO claims SELECT randomblob(16), randomblob(16), ?2 FROM n`, &sqlitex.ExecOptions{Args: []any{modeltest.Pick(8, 20) * scanPage, int64(math.MaxInt64)}}); err != nil {
		t.Fatal(err)
	}
	d := testDelivery("k", 1)
	table, err := newClaimTable(conn, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.insert(claimKey(d.Identity.Hash()), claim{requestID: d.RequestID, claimedAt: keptAt.UnixMicro()}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		q := mustOpen(t, path, Options{Partitions: 1, FilterBytes: leastFilter})
		again := testDelivery("k", 1)
		if receipt, err := q.Append(t.Context(), again); err != nil || !receipt.Duplicate() {
			t.Fatalf("a claim of before is not found: %v %v", receipt, err)
		}
		if err := q.Close(); err != nil { // long before all pages are read
			t.Fatal(err)
		}
	}
}
