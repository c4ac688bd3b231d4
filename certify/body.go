package certify

import (
	"math/rand/v2"
	"strconv"
	"strings"
)

// minSize is the smallest size of a body: the longest possible envelope, and some payload.
const minSize = 256

// maxLarge is the greatest number of large bodies of a phase, and perLarge the least number of
// events for each of them, beyond the first.
const maxLarge, perLarge = 10, 200

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

// runs are the numbers of events of one key that follow each other at once. They take turns.
var runs = []int{5, 3, 10, 2, 7, 4, 9, 6, 8}

// place returns the key of an event and its sequence number, and whether it is due right after the
// answer to the event before it, which has the same key.
//
// In a round each key occurs once, in a changing order. The events come in blocks: a round, then a
// run of one key, then as many rounds of the other keys. So the sequence numbers of a key count
// from 1 without a gap.
func (p plan) place(n int) (key, sequence int, follows bool) {
	cycle := 0 // rounds of all blocks
	for _, run := range runs {
		cycle += run + 1
	}
	block, round := n/(cycle*p.keys)*len(runs), n/(cycle*p.keys)*cycle
	n %= cycle * p.keys
	run := runs[0]
	for _, run = range runs {
		if n < (run+1)*p.keys {
			break
		}
		n -= (run + 1) * p.keys
		block, round = block+1, round+run+1
	}
	if n < p.keys {
		return mixed(n, round, p.keys), round + 1, false
	}
	runner := int(rand.NewPCG(p.seed, uint64(block)).Uint64() % uint64(p.keys))
	if n -= p.keys; n < run {
		return runner, round + n + 2, n > 0
	}
	n -= run
	others := p.keys - 1
	round += 1 + n/others
	return (runner + 1 + mixed(n%others, round, others)) % p.keys, round + 1, false
}

// mixed returns the n-th of the numbers below count, in an order that changes with the round.
func mixed(n, round, count int) int {
	stride := 1
	for s := 2*(round%(count+1)) + 1; s > 1; s-- {
		if gcd(s, count) == 1 {
			stride = s
			break
		}
	}
	return (n*stride + round) % count
}

// sizeOf returns the size of the body of an event. Some large ones are spread over the events, one
// in each part of them, at a place that the seed chooses. Each has twice the size of the last.
func (p plan) sizeOf(n int) int {
	if p.maxSize <= p.size {
		return p.size
	}
	count := min(maxLarge, 1+p.events/perLarge)
	part := p.events / count
	if i := n / part; i < count &&
		n%part == int(rand.NewPCG(p.seed, uint64(i)<<8|4).Uint64()%uint64(part)) {
		return max(p.size, p.maxSize>>(count-1-i))
	}
	return p.size
}

// gzipped reports whether an event is sent compressed.
func (p plan) gzipped(n int) bool {
	draw := rand.NewPCG(p.seed, uint64(n)<<8|5).Uint64() >> 11
	return float64(draw)/(1<<53)*100 < p.gzipPercent
}

// repeatEvery is after how many bytes the data of a compressed event repeats, so that a gate has to
// unpack much more than it receives.
const repeatEvery = 60

// body appends the body of an event.
func (p plan) body(dst []byte, n int, changed bool) []byte {
	key, sequence, _ := p.place(n)
	size := p.sizeOf(n)
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
	dst = strconv.AppendInt(dst, int64(sequence), 10)
	dst = append(dst, `,"payload":{`...)
	if odd := oddMembers[n%len(oddMembers)]; len(dst)-begin+len(odd)+len(`"data":""}}`) <= size {
		dst = append(dst, odd...)
	}
	dst = append(dst, `"data":"`...)
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	packed := p.gzipped(n)
	for word, i := uint64(0), 0; len(dst) < begin+size-len(`"}}`); i++ {
		if packed && i >= repeatEvery {
			dst = append(dst, dst[len(dst)-repeatEvery])
			continue
		}
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
