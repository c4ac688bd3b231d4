package certify

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"testing"

	"github.com/hookgate/hookgate/internal/modeltest"
)

// Goal: a gate that keeps most bodies, and changes those that not every sender sends, fails
// content. Method: gates that store bodies of one kind in another form.
func TestSaboteursOfBodies(t *testing.T) {
	stores := func(change func(body []byte) []byte) faults {
		return faults{store: func(g *gate, _ int, e *gateEvent) {
			e.body = change(e.body)
			g.put(e)
		}}
	}
	large := func(p *Phase) { p.MaxSize, p.Gzip = 100<<10, 0 }
	plain := func(p *Phase) { p.Gzip = 0 }
	certifyAll(t, []saboteur{
		{name: "honest with large bodies", profile: large, status: Pass},
		{name: "cuts off bodies above 64 KiB", profile: large, fail: []string{"content"},
			faults: stores(func(body []byte) []byte { return body[:min(len(body), 64<<10)] })},
		{name: "removes white space", profile: plain, fail: []string{"content"},
			faults: stores(func(body []byte) []byte {
				var out bytes.Buffer
				if json.Compact(&out, body) != nil {
					return body
				}
				return out.Bytes()
			})},
		{name: "replaces what is not UTF-8", profile: plain, fail: []string{"content"},
			faults: stores(func(body []byte) []byte { return bytes.ToValidUTF8(body, []byte("?")) })},
		{name: "writes escapes as characters", profile: plain, fail: []string{"content"},
			faults: stores(func(body []byte) []byte {
				return bytes.ReplaceAll(body, []byte(`\u00e9`), []byte("é"))
			})},
		{name: "keeps the last of equal members", profile: plain, fail: []string{"content"},
			faults: stores(func(body []byte) []byte {
				return bytes.ReplaceAll(body, []byte(`"twice":1,"twice":2,`), nil)
			})},
		{name: "rounds large numbers", profile: plain, fail: []string{"content"},
			faults: stores(func(body []byte) []byte {
				return bytes.ReplaceAll(body, []byte("123456789012345678901234567890"),
					[]byte("1.2345678901234568e29"))
			})},
	})
}

// Goal: a gate that does not keep compressed bodies as they came, or does not know an event by its
// content, fails for that. One that keeps them passes, even if it names their encoding when they
// are read.
func TestSaboteursOfCompression(t *testing.T) {
	stores := func(change func(e *gateEvent)) faults {
		return faults{store: func(g *gate, _ int, e *gateEvent) {
			if e.gzip {
				change(e)
			}
			g.put(e)
		}}
	}
	half := func(p *Phase) { p.Gzip = 50 }
	certifyAll(t, []saboteur{
		{name: "honest, names the encoding of bodies", faults: faults{encodedBodies: true},
			status: Pass},
		{name: "stores what it has unpacked", faults: stores(func(e *gateEvent) {
			e.body, e.gzip = unpacked(e.body), false
		}), fail: []string{"content"}},
		{name: "drops the content encoding", faults: stores(func(e *gateEvent) { e.gzip = false }),
			fail: []string{"content"}},
		{name: "packs again", profile: half, faults: stores(func(e *gateEvent) {
			var again bytes.Buffer
			w := gzip.NewWriter(&again)
			w.Write(unpacked(e.body))
			w.Close()
			e.body = again.Bytes()
		}), fail: []string{"content"}},
		{name: "names an encoding that there is not", faults: faults{store: func(g *gate, n int,
			e *gateEvent) {
			e.gzip = true
			g.put(e)
		}}, fail: []string{"content"}},
		{name: "refuses compressed bodies", faults: faults{noGzip: true},
			fail: []string{"acceptance", "errors"}},
		{name: "knows an event by its encoding too", profile: half, faults: faults{byCoding: true},
			fail: []string{"idempotency", "lineage", "stored_once"}},
	})
}

// Goal: a gate that is wrong only about events of a key that follow each other at once, or about
// repetitions long after the first, is found. In a round each of the 30 keys occurs once.
func TestSaboteursOfPace(t *testing.T) {
	certifyAll(t, []saboteur{
		{name: "swaps two of a key if three come among 25 requests",
			profile: func(p *Phase) { p.Keys, p.Rate = 30, 200 },
			faults: faults{store: func(g *gate, n int, e *gateEvent) {
				g.put(e)
				var of []int // places of the latest events of the key
				for i := len(g.stored) - 1; i >= 0 && g.stored[i].n > n-25; i-- {
					if g.stored[i].key == e.key {
						of = append(of, i)
					}
				}
				if len(of) < 3 {
					return
				}
				early := g.stored[of[1]]
				g.stored[of[0]], g.stored[of[1]] = early, e
				early.id, e.id = e.id, early.id
			}}, fail: []string{"order"}},
		{name: "forgets identities after 600 events", faults: faults{forgets: 600},
			profile: func(p *Phase) { p.Events = modeltest.Pick(1000, 1500) },
			fail:    []string{"idempotency", "lineage", "stored_once"}},
	})
}

// Goal: the errors of a gate with a lower limit say which number of the profile to lower.
func TestTooLargeForTheTarget(t *testing.T) {
	p := testProfile()
	phase := p.Phases[Smoke]
	phase.Events, phase.MaxSize = 30, 100<<10
	p.Phases[Smoke] = phase
	g := newGate(t, faults{largest: 64 << 10})
	v, _ := certifyGate(t, g, p)
	if _, text := faulty(v); v.Status != Fail || !bytes.Contains([]byte(text), []byte("max_size")) {
		t.Errorf("%s\n%s", v.Status, text)
	}
}
