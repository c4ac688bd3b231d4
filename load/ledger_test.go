package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hookgate/hookgate"
	"pgregory.net/rapid"
)

// Goal: a ledger reads back as it was written. Method: attempts with random text.
func TestLedgerRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		moment := rapid.Map(rapid.Int64Range(0, 1<<60), func(ns int64) time.Time {
			return time.Unix(0,
				ns).UTC()
		})
		want := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Attempt {
			return Attempt{
				Line: rapid.IntRange(1, 1<<40).Draw(t, "line"), Attempt: rapid.IntRange(1, 99).Draw(t,
					"attempt"),
				MessageID: rapid.String().Draw(t, "id"), EventType: rapid.String().Draw(t, "type"),
				OrderingKey: rapid.String().Draw(t, "key"),
				Sequence:    rapid.Int64Min(hookgate.NoSequence).Draw(t, "sequence"), SHA256: "00",
				Due: moment.Draw(t, "due"), Sent: moment.Draw(t, "sent"), LatencyUS: rapid.Int64Min(0).Draw(t,
					"latency"),
				Status: rapid.IntRange(0, 599).Draw(t, "status"), Error: rapid.String().Draw(t, "error"),
				RequestID: rapid.String().Draw(t, "request"), Note: rapid.String().Draw(t, "note"),
				FirstRequestID: rapid.String().Draw(t, "first"),
			}
		})).Draw(t, "attempts")
		var b bytes.Buffer
		l := newLedger(&b)
		for i := range want {
			if err := l.write(&want[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.flush(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for got, err := range ReadLedger(&b) {
			if err != nil {
				t.Fatal(err)
			}
			if got != want[n] {
				t.Fatalf("got  %+v\nwant %+v", got, want[n])
			}
			n++
		}
		if n != len(want) {
			t.Fatalf("%d attempts came back, want %d", n, len(want))
		}
	})
}

// Goal: wherever the writer died, all lines before the last one can be read, and the incomplete
// line is reported with its number. Method: cut a ledger of three lines after every byte.
func TestReadLedgerThatIsTorn(t *testing.T) {
	line := `{"line":1,"messageId":"m","attempt":1,"status":202}` + "\n"
	whole := strings.Repeat(line, 3)
	for cut := range len(whole) + 1 {
		complete := (cut + 1) / len(line) // the newline alone may be missing
		n := 0
		var last error
		for _, err := range ReadLedger(strings.NewReader(whole[:cut])) {
			if err != nil {
				last = err
				continue
			}
			n++
		}
		if n != complete {
			t.Fatalf("cut after %d bytes: %d attempts, want %d", cut, n, complete)
		}
		var bad *LineError
		torn := cut > complete*len(line)
		if errors.Is(last, io.ErrUnexpectedEOF) != torn || errors.As(last, &bad) != torn || torn &&
			bad.Line != complete+1 {
			t.Fatalf("cut after %d bytes: error %v", cut, last)
		}
	}
}

// Goal: a wrong line in the middle ends the reading, and does not count as incomplete. An error of
// the reader is returned.
func TestReadLedgerRefuses(t *testing.T) {
	const good = `{"line":1,"attempt":1}` + "\n"
	broken := errors.New("broken")
	for name, ledger := range map[string]io.Reader{
		"not JSON":   strings.NewReader(good + "x\n" + good),
		"blank":      strings.NewReader(good + "\n" + good),
		"null":       strings.NewReader(good + "null\n" + good),
		"no attempt": strings.NewReader(good + "{}\n" + good),
		"wrong type": strings.NewReader(good + `{"line":"1"}` + "\n" + good),
		"read error": io.MultiReader(strings.NewReader(good+`{"li`), iotest.ErrReader(broken)),
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			var last error
			for _, err := range ReadLedger(ledger) {
				n++
				last = err
			}
			var bad *LineError
			if n != 2 || !errors.As(last, &bad) || bad.Line != 2 || errors.Is(last, io.ErrUnexpectedEOF) {
				t.Errorf("%d yields, the last %v; want line 2 to be at fault", n, last)
			}
			if name == "read error" && !errors.Is(last, broken) {
				t.Errorf("error %v, want that of the reader", last)
			}
		})
	}
	for range ReadLedger(strings.NewReader(good + good)) {
		break // a caller may stop
	}
}

// Goal: the reader accepts any bytes. The attempts that it yields can be written and read again
// without a change.
func FuzzReadLedger(f *testing.F) {
	f.Add([]byte(`{"line":1,"messageId":"m","eventType":"t","orderingKey":"k","sequence":-1,` +
		`"sha256":"00","attempt":1,` +
		`"due":"2026-01-02T03:04:05.000000006Z","sent":"2026-01-02T03:04:05Z","latencyUs":7,` +
		`"status":503,"error":"e"}` + "\n"))
	f.Add([]byte(`{"line":1,"attempt":1}` + "\n" + `{"line":2,"att`))
	f.Add([]byte("null\n"))
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		ended := false
		for a, err := range ReadLedger(bytes.NewReader(data)) {
			if ended {
				t.Fatal("something came after an error")
			}
			if err != nil {
				var bad *LineError
				if ended = true; !errors.As(err, &bad) {
					t.Fatalf("%v names no line", err)
				}
				continue
			}
			again, err := json.Marshal(a)
			if err != nil {
				continue // a time zone with seconds can be read but not written
			}
			for b, err := range ReadLedger(bytes.NewReader(again)) {
				if err != nil || !b.Due.Equal(a.Due) || !b.Sent.Equal(a.Sent) {
					t.Fatalf("%s came back as %+v, %v", again, b, err)
				}
				b.Due, b.Sent = a.Due, a.Sent
				if a != b {
					t.Fatalf("%+v came back as %+v", a, b)
				}
			}
		}
	})
}

func BenchmarkLedgerWrite(b *testing.B) {
	l := newLedger(io.Discard)
	now := time.Now().UTC()
	a := &Attempt{
		Line: 1, MessageID: "evt-0123456789abcdef0123456789abcdef", EventType: "order.created",
		OrderingKey: "customer-1", Sequence: 1,
		SHA256: strings.Repeat("0", 64), Attempt: 1, Due: now, Sent: now, LatencyUS: 1000, Status: 202,
		RequestID: strings.Repeat("0", 36),
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := l.write(a); err != nil {
			b.Fatal(err)
		}
	}
}
