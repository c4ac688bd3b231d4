package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

// Goal: equal settings make equal bytes, another seed makes none of the same events.
// Method: generate twice and compare; generate with another seed and intersect the ids.
func TestGenerateIsDeterminedByItsSettings(t *testing.T) {
	g := Generator{Count: 500, Keys: 7, DuplicatePercent: 10, Seed: 3}
	one := generated(t, g)
	if !bytes.Equal(one, generated(t, g)) {
		t.Error("the same settings made other bytes")
	}
	ids := map[string]bool{}
	for line := range bytes.Lines(one) {
		ids[parsed(t, line).messageID] = true
	}
	g.Seed++
	for line := range bytes.Lines(generated(t, g)) {
		if id := parsed(t, line).messageID; ids[id] {
			t.Errorf("two seeds share the message id %s", id)
		}
	}
}

// Goal: the number of lines, their size, the number of repetitions and the sequences are exact.
// Method: read every line. The first line with an id is an original, and its sequence follows that
// of its key; a later line has the same bytes.
func TestGenerateIsExact(t *testing.T) {
	for _, test := range []struct {
		name        string
		g           Generator
		repetitions int
	}{
		{"defaults", Generator{Count: 1000}, 0},
		{"nothing", Generator{}, 0},
		{"one", Generator{Count: 1, DuplicatePercent: 100}, 0},
		{"some repeated", Generator{Count: 3000, DuplicatePercent: 5, Keys: 3}, 150},
		{"a fraction of a percent", Generator{Count: 3000, DuplicatePercent: 0.1}, 3},
		{"all repeated", Generator{Count: 200, DuplicatePercent: 100}, 199},
		{"one key", Generator{Count: 1200, Keys: 1, DuplicatePercent: 50, Size: 150}, 600},
		{"large", Generator{Count: 5, Size: 1 << 20, DuplicatePercent: 20}, 1},
		{"own names", Generator{Count: 100, EventTypes: []string{"größe"}, IDPrefix: "x", Size: 200}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			size, lines, repetitions := test.g.Size, 0, 0
			if size == 0 {
				size = DefaultSize
			}
			first := map[string][]byte{}
			sequences := map[string]int64{}
			for line := range bytes.Lines(generated(t, test.g)) {
				lines++
				ev := parsed(t, line)
				if len(ev.body) != size {
					t.Fatalf("line %d has %d bytes, want %d", lines, len(ev.body), size)
				}
				if !json.Valid(line) {
					t.Fatalf("line %d is not JSON: %s", lines, line)
				}
				if before, again := first[ev.messageID]; again {
					repetitions++
					if !bytes.Equal(before, line) {
						t.Fatalf("line %d repeats %s with other bytes", lines, ev.messageID)
					}
					continue
				}
				first[ev.messageID] = bytes.Clone(line)
				sequences[ev.orderingKey]++
				if ev.sequence != sequences[ev.orderingKey] {
					t.Fatalf("line %d: key %s goes on with %d, want %d", lines, ev.orderingKey, ev.sequence,
						sequences[ev.orderingKey])
				}
			}
			if lines != test.g.Count || repetitions != test.repetitions {
				t.Errorf("%d lines with %d repetitions, want %d with %d", lines, repetitions, test.g.Count,
					test.repetitions)
			}
		})
	}
}

// Goal: settings that cannot work are rejected by name before anything is written.
func TestGenerateRefuses(t *testing.T) {
	for _, test := range []struct {
		name, want string
		g          Generator
	}{
		{"negative count", "count -1", Generator{Count: -1}},
		{"negative keys", "keys -1", Generator{Count: 1, Keys: -1}},
		{"too many keys", "keys 1000001", Generator{Count: 1, Keys: maxKeys + 1}},
		{"percentage over 100", "duplicates 101", Generator{Count: 1, DuplicatePercent: 101}},
		{"too small", "size 20 is too small", Generator{Count: 1, Size: 20}},
		{"too large", "is too large", Generator{Count: 1, Size: maxLineBytes + 1}},
		{"quotation mark", "needs escaping in JSON", Generator{Count: 1, IDPrefix: `"`}},
		{"invalid UTF-8", "needs escaping in JSON", Generator{Count: 1, EventTypes: []string{"\xff"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b bytes.Buffer
			err := test.g.Generate(context.Background(), &b)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that says %q", err, test.want)
			}
			if b.Len() > 0 {
				t.Error("something was written")
			}
		})
	}
}

// Goal: a writer that fails and a context that ends stop the generator with their own errors.
func TestGenerateStops(t *testing.T) {
	r, w := io.Pipe()
	broken := errors.New("broken")
	r.CloseWithError(broken)
	if err := (Generator{Count: 1000}).Generate(context.Background(), w); !errors.Is(err, broken) {
		t.Errorf("error %v, want that of the writer", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(broken)
	if err := (Generator{Count: 1}).Generate(ctx, io.Discard); !errors.Is(err, broken) {
		t.Errorf("error %v, want the cause of the context", err)
	}
}

func parsed(t *testing.T, line []byte) *event {
	t.Helper()
	ev, err := parseEvent(bytes.TrimSuffix(line, []byte("\n")))
	if err != nil {
		t.Fatalf("line %s: %v", line, err)
	}
	return ev
}

func BenchmarkGenerate(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(DefaultSize + 1)
	// One stream of b.N events: a call for each would measure the set-up.
	if err := (Generator{Count: b.N, DuplicatePercent: 5}).Generate(b.Context(),
		io.Discard); err != nil {
		b.Fatal(err)
	}
}
