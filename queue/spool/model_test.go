package spool

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgate/hookgate"
)

// TestModel drives a queue with random appends, repetitions, failures of the store, pauses, small
// spools and restarts, and then reads the store. Every acknowledged request is there, each event
// once, each key in order, and every acknowledged repetition is a duplicate. A sender continues its
// key only after an acknowledgement, because otherwise the key has no order.
func TestModel(t *testing.T) {
	root := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		s := setup{
			timeout:   impatient,
			oneByOne:  rapid.Bool().Draw(t, "one by one"),
			highWater: rapid.SampledFrom([]int64{3, 1000}).Draw(t, "high water"),
		}
		p := openPair(t, dir, s)
		defer func() { p.close() }()
		appended := map[string]int{}                    // acknowledged events of each key
		acknowledged := map[hookgate.RequestID]string{} // message ids
		append := func(d *hookgate.Request) bool {      // reports whether it was acknowledged
			if _, err := p.Append(context.Background(), d); err != nil {
				return false
			}
			acknowledged[d.RequestID] = d.MessageID
			return true
		}
		keys := rapid.SampledFrom([]string{"a", "b", "c"})
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				key := keys.Draw(t, "key")
				if append(newRequest(key, appended[key])) {
					appended[key]++
				}
			},
			"append many": func(t *rapid.T) {
				key := keys.Draw(t, "key")
				for range 20 {
					if append(newRequest(key, appended[key])) {
						appended[key]++
					}
				}
			},
			"repeat": func(t *rapid.T) {
				key := keys.Draw(t, "key")
				if n := appended[key]; n > 0 {
					append(newRequest(key, rapid.IntRange(0, n-1).Draw(t, "n")))
				}
			},
			"mood": func(t *rapid.T) {
				p.store.mood.Store(rapid.Int32Range(well, sluggish).Draw(t,
					"mood"))
			},
			"well":  func(*rapid.T) { p.store.mood.Store(well) },
			"pause": func(t *rapid.T) { p.paused.Store(rapid.Bool().Draw(t, "paused")) },
			"wait": func(t *rapid.T) {
				time.Sleep(time.Duration(rapid.IntRange(0, 20).Draw(t,
					"ms")) * time.Millisecond)
			},
			"restart": func(t *rapid.T) {
				if err := p.close(); err != nil {
					t.Fatal(err)
				}
				p = openPair(t, dir, s)
			},
		})
		p.store.mood.Store(well)
		p.paused.Store(false)
		for end := time.Now().Add(waitFor); !p.isDirect(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the queue does not become direct")
			}
		}
		for key, n := range appended {
			// A failed append may have been stored; so its key may have one more event.
			got := 0
			for _, e := range p.store.events(t) {
				if e.OrderingKey != key {
					continue
				}
				if e.MessageID != key+"-"+strconv.Itoa(got) {
					t.Fatalf("%s is stored where %d was due", e.MessageID, got)
				}
				got++
			}
			if got != n && got != n+1 {
				t.Fatalf("%d events of %s are stored, %d were acknowledged", got, key, n)
			}
		}
		firsts := map[string]hookgate.RequestID{}
		for _, r := range p.store.kept(t) {
			if r.DuplicateOf.IsZero() {
				firsts[r.MessageID] = r.RequestID
			} else if r.DuplicateOf != firsts[r.MessageID] {
				t.Fatalf("a repetition of %s is a duplicate of %s, want %s", r.MessageID, r.DuplicateOf,
					firsts[r.MessageID])
			}
			delete(acknowledged, r.RequestID)
		}
		for id, message := range acknowledged {
			t.Fatalf("request %s of %s was acknowledged and left no trace", id, message)
		}
	})
}
