package hookgate_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

// TestPartitionNeverChanges: queued records depend on the partitions of their keys. A separate
// program computed these values once, and they must stay.
func TestPartitionNeverChanges(t *testing.T) {
	for key, want := range map[string]int{
		"": 2, "a": 13, "customer-1": 1, "customer-2": 15, "octocat/Hello-World": 0, "order.paid": 15,
		"\u00fc\U0001f600": 8,
	} {
		if got := hookgate.Partition(key, 16); got != want {
			t.Errorf("key %q is in partition %d of 16, want %d", key, got, want)
		}
	}
}

// TestHashNeverChanges: claims are stored under the hash. A separate program computed the value
// once.
func TestHashNeverChanges(t *testing.T) {
	id := hookgate.Identity{Source: "default", EventType: "order.paid", MessageID: "evt-1"}
	if got, want := fmt.Sprintf("%x", id.Hash()), "ccd6e5a1613c67c7fbb39bdf2e9ec9af"; got != want {
		t.Errorf("the hash of %s is %s, want %s", id, got, want)
	}
	if (hookgate.Identity{Source: "a", EventType: "bc"}).Hash() == (hookgate.Identity{Source: "ab",
		EventType: "c"}).Hash() {
		t.Error("where one part ends and the next begins does not show")
	}
}

// TestPartitionIsEven: keys that differ in a digit spread over all partitions, and none gets more
// than twice its part.
func TestPartitionIsEven(t *testing.T) {
	for _, n := range []int{1, 2, 3, 16, 64} {
		const keys = 20_000
		count := make([]int, n)
		for i := range keys {
			count[hookgate.Partition(fmt.Sprint("customer-", i), n)]++
		}
		if least, most := slices.Min(count), slices.Max(count); most > 2*keys/n || least < keys/n/2 {
			t.Errorf("of %d partitions one has %d and one %d of %d keys", n, least, most, keys)
		}
	}
}

// TestPosition: ParsePosition parses the text form, and Compare orders by both numbers.
func TestPosition(t *testing.T) {
	sorted := []hookgate.Position{{}, {Minor: 1}, {Minor: 10}, {Major: 1}, {Major: 1, Minor: 2},
		{Major: 1<<64 - 1, Minor: 1<<64 - 1}}
	for i, p := range sorted {
		if got, err := hookgate.ParsePosition(p.String()); err != nil || got != p {
			t.Errorf("%s reads as %s (error %v)", p, got, err)
		}
		for j, q := range sorted {
			if got := p.Compare(q); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%s against %s is %d", p, q, got)
			}
		}
	}
	for _, s := range []string{"", "1", "-", "1-", "-1", "1-2-3", "a-1", "1- 2",
		"18446744073709551616-0"} {
		if p, err := hookgate.ParsePosition(s); err == nil {
			t.Errorf("%q reads as %s", s, p)
		}
	}
}

func TestParseMode(t *testing.T) {
	for _, m := range control.Modes {
		if got, err := control.ParseMode(string(m)); err != nil || got != m {
			t.Errorf("%q reads as %q (error %v)", m, got, err)
		}
	}
	if _, err := control.ParseMode("Normal"); err == nil ||
		!strings.Contains(err.Error(), "read_only") {
		t.Errorf("an unknown mode got %v, want an error that names the known ones", err)
	}
}

// TestRequestID: ids are UUIDs of version 7 whose text sorts by time, and no two are equal.
func TestRequestID(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	seen := map[hookgate.RequestID]bool{}
	last := ""
	for range 10_000 {
		id := hookgate.NewRequestID(at)
		text := id.String()
		if seen[id] || id.IsZero() || text[14] != '7' || !strings.ContainsRune("89ab", rune(text[19])) {
			t.Fatalf("%s is no fresh UUID of version 7", text)
		}
		seen[id] = true
		if back, err := hookgate.ParseRequestID(text); err != nil || back != id {
			t.Fatalf("%s reads as %s (error %v)", text, back, err)
		}
		if text[:18] < last {
			t.Fatalf("%s follows %s", text, last)
		}
		last = text[:18]
		at = at.Add(time.Microsecond)
	}
	for _, at := range []time.Time{time.UnixMilli(0), time.UnixMilli(1764000000001),
		time.UnixMilli(1764000000001).Add(999 * time.Microsecond)} {
		first, id := hookgate.FirstRequestID(at).String(), hookgate.NewRequestID(at).String()
		if next := hookgate.FirstRequestID(at.Add(time.Millisecond)).String(); first > id || id >= next {
			t.Errorf("an id of %s is %s, want it from %s on and below %s", at, id, first, next)
		}
	}
	for at, want := range map[time.Time]string{{}: "00000000-0000-7000-8000-000000000000",
		time.Date(30000, 1, 1, 0, 0, 0, 0, time.UTC): "ffffffff-ffff-7000-8000-000000000000"} {
		if got := hookgate.FirstRequestID(at).String(); got != want {
			t.Errorf("the first id at %s is %s, want %s", at, got, want)
		}
	}
	if got := hookgate.NewRequestID(time.UnixMilli(0x0123456789ab)).String(); !strings.HasPrefix(got,
		"01234567-89ab-7000-") {
		t.Errorf("the id of a known time is %s", got)
	}
	for _, s := range []string{"", "0123", strings.Repeat("0", 36),
		"01234567-89ab-7000-8000-00000000000g", "01234567-89ab-7000-8000-0000000000000",
		"{1234567-89ab-7000-8000-00000000000}"} {
		if id, err := hookgate.ParseRequestID(s); err == nil {
			t.Errorf("%q reads as %s", s, id)
		}
	}
}

// TestRequestIDIsText: JSON and the log write a request id as text, and JSON parses it.
func TestRequestIDIsText(t *testing.T) {
	id := hookgate.NewRequestID(time.UnixMilli(1_700_000_000_000))
	var log bytes.Buffer
	record := struct{ ID hookgate.RequestID }{id}
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "request_id", id, "record", record, "ids",
		[]hookgate.RequestID{id})
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "request_id", id)
	for _, want := range []string{
		`"request_id":"` + id.String() + `"`, `"record":{"ID":"` + id.String() + `"}`, `"ids":["` +
			id.String() + `"]`, "request_id=" + id.String() + "\n",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not have %s:\n%s", want, &log)
		}
	}
	text, err := json.Marshal(id)
	var back hookgate.RequestID
	if err = errors.Join(err, json.Unmarshal(text, &back)); err != nil || back != id {
		t.Errorf("%s reads as %s (error %v)", text, back, err)
	}
	if err := json.Unmarshal([]byte(`"no uuid"`), &back); err == nil {
		t.Error("what is no id is read as one")
	}
}
