package certify

import (
	"iter"
	"math/rand/v2"
	"strconv"
	"strings"

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

// minSize is the smallest size of a body: the longest possible envelope, and some payload.
const minSize = 256

// laterBy is the greatest number of requests between an event and a later repetition.
const laterBy = 500

// eventTypes belong to no real sender, so that nobody mistakes them for business events.
var eventTypes = []string{"certify.created", "certify.paid", "certify.shipped", "certify.cancelled"}

// oddMembers begin the payloads in turn, where the size of a body leaves room. Real senders send
// all of this, and a gate must keep it byte for byte.
var oddMembers = []string{
	"",
	"\r\n\t \"spaced\" :\n [ 1 ,\t2 ]\r\n, ",
	`"escaped":"\u0000\u001f\/\ud83d\ude00\\\"\u00e9","\u006bey":"\n",`,
	`"text":"Zoë, 東京, שלום, 👩‍👩‍👧, e\u0301 é, \u2028",`,
	"\"binary\":\"\x80\xff\xc3\xa9\xc3\xed\xa0\x80\",",
	`"twice":1,"twice":2,"twice":{"twice":null},`,
	`"numbers":[123456789012345678901234567890,1e400,-0.0,0.1000000000000000055511151231257827],`,
	`"nested":` + strings.Repeat("[", 60) + `{}` + strings.Repeat("]", 60) + `,`,
}

// plan determines the requests of a phase. They depend on its fields only.
type plan struct {
	prefix           string // of the message ids
	seed             uint64
	events, keys     int
	duplicatePercent float64
	size             int
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
		waiting := make([][]later, laterBy) // a ring, by the event that they follow
		left, kind := p.repeats(), 0
		var body []byte
		send := func(event int, kind string) bool {
			body = p.body(body[:0], event, kind == kindChanged)
			return yield(load.Message{Body: body, Kind: kind, Together: kind == kindConcurrent}, nil)
		}
		flush := func(slot int) bool {
			for _, r := range waiting[slot] {
				if !send(r.event, r.kind) {
					return false
				}
			}
			waiting[slot] = waiting[slot][:0]
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
					slot := (n + 1 + rng.IntN(laterBy-1)) % laterBy
					waiting[slot] = append(waiting[slot], later{n, k})
				}
			}
			if !flush(n % laterBy) {
				return
			}
		}
		for i := range laterBy {
			if !flush((p.events + i) % laterBy) {
				return
			}
		}
	}
}

// body appends the body of an event. Each key occurs once in each round of as many events as there
// are keys, in a changing order. So the sequence numbers of a key count from 1 without a gap.
func (p plan) body(dst []byte, n int, changed bool) []byte {
	round := n / p.keys
	stride := 1
	for s := 2*(round%(p.keys+1)) + 1; s > 1; s-- {
		if gcd(s, p.keys) == 1 {
			stride = s
			break
		}
	}
	key := (n%p.keys*stride + round) % p.keys
	variant := uint64(2)
	if changed {
		variant = 3
	}
	rng := rand.New(rand.NewPCG(p.seed, uint64(n)<<8|variant))
	begin := len(dst)
	dst = append(dst, `{"messageId":"`...)
	dst = append(dst, p.prefix...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	dst = append(dst, `","eventType":"`...)
	dst = append(dst, eventTypes[n*7%len(eventTypes)]...)
	dst = append(dst, `","orderingKey":"`...)
	if p.names != nil {
		key = p.names[key]
	}
	dst = append(dst, keyName(p.prefix, key)...)
	dst = append(dst, `","sequence":`...)
	dst = strconv.AppendInt(dst, int64(round+1), 10)
	dst = append(dst, `,"payload":{`...)
	if odd := oddMembers[n%len(oddMembers)]; len(dst)-begin+len(odd)+len(`"data":""}}`) <= p.size {
		dst = append(dst, odd...)
	}
	dst = append(dst, `"data":"`...)
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	for word, i := uint64(0), 0; len(dst) < begin+p.size-len(`"}}`); i++ {
		if i%10 == 0 {
			word = rng.Uint64()
		}
		dst = append(dst, letters[word%64])
		word >>= 6
	}
	return append(dst, `"}}`...)
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
