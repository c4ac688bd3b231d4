package load

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
)

const (
	// DefaultSize is the size of a generated body in bytes.
	DefaultSize = 600
	// repeatLines and repeatBytes bound the events that are kept to be repeated. A sender repeats
	// recent events.
	repeatLines, repeatBytes = 1024, 64 << 20
	// maxKeys bounds the memory for sequence numbers.
	maxKeys = 1_000_000
)

// Generator describes a stream of events of the default source. Equal generators write equal bytes.
type Generator struct {
	// Count is the number of lines.
	Count int
	// Keys is the number of ordering keys, at most 1,000,000; 0 means 100. Each is equally likely.
	Keys int
	// DuplicatePercent, from 0 to 100, is the share of lines that repeat an earlier event byte for
	// byte. It is exact to the nearest line. The first line never repeats one.
	DuplicatePercent float64
	// Size is the length of each body in bytes, without the newline, at most 16 MiB; 0 means
	// DefaultSize.
	Size int
	// Seed determines everything, including message ids: sending one seed twice sends duplicates.
	Seed uint64
	// EventTypes are equally likely; none means four types of order events. They must not need
	// escaping in JSON.
	EventTypes []string
	// IDPrefix begins every message id; empty means "evt-". It must not need escaping in JSON.
	IDPrefix string
}

// withDefaults returns g with its zero fields replaced, or the reason why g cannot be used.
func (g Generator) withDefaults() (Generator, error) {
	if g.Keys == 0 {
		g.Keys = 100
	}
	if g.Size == 0 {
		g.Size = DefaultSize
	}
	if g.IDPrefix == "" {
		g.IDPrefix = "evt-"
	}
	if len(g.EventTypes) == 0 {
		g.EventTypes = []string{"order.created", "order.paid", "order.shipped", "order.cancelled"}
	}
	switch {
	case g.Count < 0:
		return g, fmt.Errorf("count %d is negative", g.Count)
	case g.Keys < 1 || g.Keys > maxKeys:
		return g, fmt.Errorf("number of keys %d is not between 1 and %d", g.Keys, maxKeys)
	case g.Size > maxLineBytes:
		return g, fmt.Errorf("size %d is too large: a line has at most %d bytes", g.Size, maxLineBytes)
	case !(g.DuplicatePercent >= 0 && g.DuplicatePercent <= 100):
		return g, fmt.Errorf("duplicates %v is not a percentage between 0 and 100", g.DuplicatePercent)
	}
	for _, s := range append([]string{g.IDPrefix}, g.EventTypes...) {
		if s == "" || strconv.Quote(s) != `"`+s+`"` {
			return g, fmt.Errorf("%q needs escaping in JSON: use plain characters", s)
		}
	}
	if least := g.leastSize(); g.Size < least {
		return g, fmt.Errorf("size %d is too small: these events need at least %d bytes", g.Size, least)
	}
	return g, nil
}

// leastSize is the length of the longest possible event with an empty payload.
func (g Generator) leastSize() int {
	least := 0
	for _, t := range g.EventTypes {
		e := g.envelope(nil, 0, 0, t, g.Keys-1, g.Count)
		least = max(least, len(e)+len(envelopeEnd))
	}
	return least
}

const envelopeEnd = `"}}`

// envelope appends a body, up to the opening quotation mark of its payload.
func (g Generator) envelope(dst []byte, idHigh, idLow uint64, eventType string, key,
	sequence int) []byte {
	dst = append(dst, `{"messageId":"`...)
	dst = append(dst, g.IDPrefix...)
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], idHigh)
	binary.BigEndian.PutUint64(id[8:], idLow)
	dst = hex.AppendEncode(dst, id[:])
	dst = append(dst, `","eventType":"`...)
	dst = append(dst, eventType...)
	dst = append(dst, `","orderingKey":"customer-`...)
	dst = strconv.AppendInt(dst, int64(key), 10)
	dst = append(dst, `","sequence":`...)
	dst = strconv.AppendInt(dst, int64(sequence), 10)
	return append(dst, `,"payload":{"data":"`...)
}

// Generate writes the events as NDJSON:
// {"messageId","eventType","orderingKey","sequence","payload"}. Sequence numbers count from 1 for
// each ordering key. It uses at most about 80 MiB. It returns an error of the settings before it
// writes anything, and otherwise errors of w and ctx.
func (g Generator) Generate(ctx context.Context, w io.Writer) error {
	g, err := g.withDefaults()
	if err != nil {
		return fmt.Errorf("generate events: %w", err)
	}
	rng := rand.New(rand.NewPCG(g.Seed, 0))
	sequences := make([]int, g.Keys)
	recent := make([][]byte, 0, max(1, min(repeatLines, repeatBytes/g.Size)))
	events := 0
	repeats := min(int(math.Round(float64(g.Count)*g.DuplicatePercent/100)), max(0, g.Count-1))
	out := bufio.NewWriterSize(w, 64<<10)
	for i := range g.Count {
		if i%1024 == 0 && ctx.Err() != nil {
			return fmt.Errorf("generate event %d of %d: %w", i+1, g.Count, context.Cause(ctx))
		}
		var line []byte
		if i > 0 && rng.IntN(g.Count-i) < repeats { // selection sampling, for the exact number
			repeats--
			line = recent[rng.IntN(len(recent))]
		} else {
			if len(recent) < cap(recent) {
				recent = append(recent, nil)
			}
			slot := &recent[events%cap(recent)]
			events++
			key := rng.IntN(g.Keys)
			sequences[key]++
			line = g.event((*slot)[:0], rng, key, sequences[key])
			*slot = line
		}
		out.Write(line) // the error stays in out until Flush
		if err := out.WriteByte('\n'); err != nil {
			return fmt.Errorf("write event %d of %d: %w", i+1, g.Count, err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	return nil
}

// event appends a body of exactly g.Size bytes.
func (g Generator) event(dst []byte, rng *rand.Rand, key, sequence int) []byte {
	dst = g.envelope(dst, rng.Uint64(), rng.Uint64(), g.EventTypes[rng.IntN(len(g.EventTypes))], key,
		sequence)
	dst = fill(dst, rng, g.Size-len(dst)-len(envelopeEnd))
	return append(dst, envelopeEnd...)
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// fill appends n random characters that need no escaping.
func fill(dst []byte, rng *rand.Rand, n int) []byte {
	var word uint64
	for i := range n {
		if i%10 == 0 {
			word = rng.Uint64()
		}
		dst = append(dst, letters[word%64])
		word >>= 6
	}
	return dst
}
