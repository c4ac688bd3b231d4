package certify

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/hookgate/hookgate/control"
	"pgregory.net/rapid"
)

// Goal: a plan has exactly the requested events and repetitions, and bodies of the requested size,
// with large ones up to the greatest size, and
// compressed as often as requested. The sequence numbers of a key count from 1 without a gap
// in the order sent. A repetition follows its event, with the same bytes unless the test changes
// them. The plan is the same each time, and all its keys are in the share of the canary.
func TestPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := plan{prefix: "p-", seed: rapid.Uint64().Draw(t, "seed"), events: rapid.IntRange(1,
			1500).Draw(t, "events"), keys: rapid.IntRange(1, 120).Draw(t, "keys"),
			duplicatePercent: rapid.Float64Range(0, 100).Draw(t, "duplicates"), size: rapid.IntRange(minSize,
				600).Draw(t, "size")}
		p.gzipPercent = rapid.SampledFrom([]float64{0, 10, 100}).Draw(t, "percent compressed")
		p.maxSize = rapid.IntRange(0, 4000).Draw(t, "max size")
		percent := rapid.IntRange(1, 100).Draw(t, "percent of a canary")
		p.names = keysOfShare(p.prefix, p.keys, percent)
		type sent struct {
			MessageID, EventType, OrderingKey string
			Sequence                          int64
		}
		bodies, sequences, kinds := map[string]string{}, map[string]int64{}, map[string]int{}
		n, largest, large, followers := 0, 0, 0, 0
		var before, keyBefore string
		var all []string
		for m, err := range p.messages() {
			if err != nil {
				t.Fatal(err)
			}
			n++
			var e sent
			if err := json.Unmarshal(m.Body, &e); err != nil || len(m.Body) < p.size {
				t.Fatalf("%d bytes, want %d: %s (%v)", len(m.Body), p.size, m.Body, err)
			}
			if packed := m.Gzip != nil; p.gzipPercent == 0 && packed || p.gzipPercent == 100 &&
				packed == (m.Kind == kindChanged) {
				t.Fatalf("of %g%% to compress, %s %s is compressed: %v", p.gzipPercent, m.Kind, e.MessageID,
					packed)
			}
			if m.Gzip != nil && !bytes.Equal(unpacked(m.Gzip), m.Body) {
				t.Fatalf("%s is compressed, and is another body", e.MessageID)
			}
			largest = max(largest, len(m.Body))
			if m.Kind == kindFirst && len(m.Body) > p.size {
				large++
			}
			if m.Follows && (m.Kind != kindFirst || e.OrderingKey != keyBefore) {
				t.Fatalf("%s %s of key %s follows key %s", m.Kind, e.MessageID, e.OrderingKey, keyBefore)
			}
			if m.Follows {
				followers++
			}
			if m.Kind == kindFirst {
				keyBefore = e.OrderingKey
			}
			if !control.CanaryIncludes(e.OrderingKey, percent) {
				t.Fatalf("the key %s is not in a share of %d percent", e.OrderingKey, percent)
			}
			kinds[m.Kind]++
			first, seen := bodies[e.MessageID]
			switch {
			case m.Kind == kindFirst:
				if seen || e.Sequence != sequences[e.OrderingKey]+1 {
					t.Fatalf("%s: sent before is %v, sequence %d of key %s follows %d", e.MessageID, seen,
						e.Sequence, e.OrderingKey, sequences[e.OrderingKey])
				}
				sequences[e.OrderingKey], bodies[e.MessageID] = e.Sequence, string(m.Body)
			case !seen || (string(m.Body) == first) != (m.Kind != kindChanged):
				t.Fatalf("a repetition %s of %s, sent before: %v", m.Kind, e.MessageID, seen)
			case m.Together != (m.Kind == kindConcurrent), m.Together && before != e.MessageID:
				t.Fatalf("%s %s behind %s is sent together: %v", m.Kind, e.MessageID, before, m.Together)
			}
			before = e.MessageID
			all = append(all, string(m.Body)+string(m.Gzip))
		}
		if n != p.requests() || kinds[kindFirst] != p.events || len(sequences) != min(p.keys, p.events) {
			t.Fatalf("%d requests, want %d; %v", n, p.requests(), kinds)
		}
		if largest != max(p.size, p.maxSize) || large > maxLarge {
			t.Fatalf("%d large bodies of up to %d bytes, want up to %d", large, largest, p.maxSize)
		}
		if p.events > p.keys+runs[0] && followers == 0 {
			t.Fatal("no event follows another one of its key at once")
		}
		for _, a := range repeatKinds {
			for _, b := range repeatKinds {
				if kinds[a] > kinds[b]+1 {
					t.Fatalf("the kinds do not take turns: %v", kinds)
				}
			}
		}
		i := 0
		for m := range p.messages() {
			if string(m.Body)+string(m.Gzip) != all[i] {
				t.Fatalf("request %d is another one the second time", i)
			}
			i++
		}
	})
}
