package load

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
)

func messagesOf(all ...Message) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for _, m := range all {
			if !yield(m, nil) {
				return
			}
		}
	}
}

func bodyOf(id string) []byte {
	return fmt.Appendf(nil, `{"messageId":%q,"eventType":"t","orderingKey":"k"}`, id)
}

// Goal: messages that are sent together are in flight together, and the next of their key follows
// when all of them are answered. Method: the gate answers the two only when both have arrived, and
// counts how many it has at a time.
func TestReplayTogether(t *testing.T) {
	var mu sync.Mutex
	inFlight, answered := 0, 0
	both := make(chan struct{})
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/webhooks/partner" || r.Header.Get("X-Trace") != "abc" {
			t.Errorf("%s %v", r.URL.Path, r.Header)
		}
		var m message
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		mu.Lock()
		inFlight++
		if m.MessageID == "next" && (inFlight != 1 || answered != 2) {
			t.Errorf("the next of the key comes with %d in flight and %d answered", inFlight, answered)
		}
		if m.MessageID == "one" && inFlight == 2 {
			close(both)
		}
		mu.Unlock()
		if m.MessageID == "one" {
			<-both
		}
		mu.Lock()
		inFlight--
		answered++
		mu.Unlock()
		w.WriteHeader(http.StatusAccepted)
	}))
	defer gate.Close()
	header := []hookgate.Header{{Name: "X-Trace", Value: "abc"}}
	var ledger bytes.Buffer
	s, err := Replay(t.Context(), Config{Target: gate.URL, Path: "/webhooks/partner", Rate: 1000,
		Ledger: &ledger, Messages: messagesOf(
			Message{Body: bodyOf("one"), Header: header, Kind: "first"},
			Message{Body: bodyOf("one"), Header: header, Kind: "again", Together: true},
			Message{Body: bodyOf("next"), Header: header, Kind: "first"},
		)})
	if err != nil || s.Accepted != 3 {
		t.Fatalf("%+v, %v", s, err)
	}
	all := attempts(t, &ledger)
	var kinds []string
	for _, a := range all {
		kinds = append(kinds, a.Kind)
	}
	if len(all) != 3 || !all[0].Due.Equal(all[1].Due) || kinds[2] != "first" || kinds[0] == kinds[1] {
		t.Errorf("the ledger is %+v", all)
	}
}

// Goal: a message that follows is due when the one before it is answered, however slow the schedule
// is. Method: the places of the schedule are days apart.
func TestReplayFollows(t *testing.T) {
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
	}))
	defer gate.Close()
	var ledger bytes.Buffer
	if _, err := Replay(t.Context(), Config{Target: gate.URL, Rate: 1e-6, Concurrency: 2,
		Ledger: &ledger, Messages: messagesOf(Message{Body: bodyOf("one")},
			Message{Body: bodyOf("two"), Follows: true}, Message{Body: bodyOf("three"), Follows: true},
		)}); err != nil {
		t.Fatal(err)
	}
	all := attempts(t, &ledger)
	var answered time.Time
	for i, id := range []string{"one", "two", "three"} {
		if a := all[i]; a.MessageID != id || i > 0 && (!a.Due.Equal(a.Sent) || a.Sent.Before(answered)) {
			t.Errorf("attempt %d is %+v", i+1, a)
		}
		answered = all[i].Due.Add(time.Duration(all[i].LatencyUS) * time.Microsecond)
	}
}

// Goal: a message that cannot be sent ends the replay with its number. Neither it nor any later one
// is sent.
func TestReplayBadMessages(t *testing.T) {
	broken := errors.New("broken")
	for name, bad := range map[string]iter.Seq2[Message, error]{
		"no event": messagesOf(Message{Body: []byte("{}")}),
		"own header": messagesOf(Message{Body: bodyOf("x"),
			Header: []hookgate.Header{{Name: "content-LENGTH", Value: "3"}}}),
		"new line": messagesOf(Message{Body: bodyOf("x"),
			Header: []hookgate.Header{{Name: "X-A", Value: "a\r\nX-B: b"}}}),
		"bad name": messagesOf(Message{Body: bodyOf("x"),
			Header: []hookgate.Header{{Name: "X A", Value: "a"}}}),
		"read failed": func(yield func(Message, error) bool) { yield(Message{}, broken) },
	} {
		g := newGate(t, nil)
		s, err := Replay(t.Context(),
			Config{Target: g.URL, Credentials: Credentials{HMACSecret: testSecret},
				Messages: func(yield func(Message, error) bool) {
					if yield(Message{Body: []byte(`{"messageId":"fine","eventType":"t","sequence":1}`)}, nil) {
						for m, err := range bad {
							yield(m, err)
						}
					}
				}})
		var line *LineError
		if !errors.As(err, &line) || line.Line != 2 || s.Accepted != 1 || s.Attempts != 1 {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		if name == "read failed" && !errors.Is(err, broken) {
			t.Errorf("the error %v does not have its reason", err)
		}
	}
}

// Goal: messages with their own times are due at those times, even after a stall.
func TestPacerAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pacer{nap: time.Sleep}
		start := time.Now()
		for i, after := range []time.Duration{0, 0, 3 * time.Millisecond, time.Second, time.Hour} {
			if i == 3 && !pause(t.Context(), 2*time.Second) {
				t.Fatal("not paused")
			}
			due, err := p.at(t.Context(), after)
			if err != nil || due.Sub(start) != after {
				t.Errorf("due %v after the start, want %v (%v)", due.Sub(start), after, err)
			}
		}
		if time.Since(start) != time.Hour {
			t.Errorf("it took %v", time.Since(start))
		}
	})
}

// Goal: recorded traffic reads back as it was, with its times, without the authentication.
func TestRecordedRoundTrip(t *testing.T) {
	header := []hookgate.Header{{Name: "X-Trace", Value: "1"}, {Name: "Content-Type",
		Value: "application/json"}}
	secret := []hookgate.Header{{Name: "Authorization", Value: "Bearer x"},
		{Name: "X-Hub-Signature-256", Value: "x"}, {Name: "Cookie", Value: "x"},
		{Name: "X-Api-Key", Value: "x"}}
	bodies := [][]byte{bodyOf("a"), []byte("{\"messageId\":\"\xff\"}"), []byte("a\nb<>&\u2028")}
	var file bytes.Buffer
	out := json.NewEncoder(&file)
	for i, b := range bodies {
		if err := out.Encode(NewRecorded(time.Duration(i)*1500*time.Microsecond, "default",
			append(secret, header...), b)); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(file.String(), "Bearer") || strings.Contains(file.String(), "Signature") {
		t.Errorf("secrets are recorded: %s", file.String())
	}
	i := 0
	for m, err := range ReadRecorded(bytes.NewReader(file.Bytes()), 2) {
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Body, bodies[i]) || m.At != time.Duration(i)*750*time.Microsecond ||
			len(m.Header) != 1 || m.Header[0].Name != "X-Trace" {
			t.Errorf("message %d is %+v", i, m)
		}
		i++
	}
	if i != len(bodies) {
		t.Errorf("%d messages came back", i)
	}
}

// Goal: the error of a recording that cannot be used names the entry.
func TestRecordedRefuses(t *testing.T) {
	good := `{"atMs":5,"body":"{}"}` + "\n"
	for _, bad := range []string{`{"atMs":4,"body":"{}"}`, `{"atMs":6,"body":"{}","base64":"AA=="}`,
		`{"atMs":"x"}`, `{`, `[]`} {
		n := 0
		var last error
		for _, err := range ReadRecorded(strings.NewReader(good+bad), 1) {
			n++
			last = err
		}
		var line *LineError
		if n != 2 || !errors.As(last, &line) || line.Line != 2 {
			t.Errorf("%s: %v after %d", bad, last, n)
		}
	}
}

// Goal: a compressed body is sent, signed and recorded in the ledger as it is, and its event is
// known by its content. Recorded traffic with such a body is sent again byte for byte. Method: one
// message, and a recording of it.
func TestReplayGzip(t *testing.T) {
	content := bodyOf("one")
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write(content)
	w.Close()
	var recording bytes.Buffer
	kept := []hookgate.Header{{Name: "Content-Encoding", Value: "gzip"}}
	if _, err := Record(&recording, func(yield func(StoredEvent, error) bool) {
		yield(StoredEvent{Header: kept, Body: packed.Bytes()}, nil)
	}); err != nil {
		t.Fatal(err)
	}
	credentials := Credentials{HMACSecret: "secret"}
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(got, packed.Bytes()) ||
			!slices.Equal(r.Header["Content-Encoding"], []string{"gzip"}) ||
			r.Header.Get("X-Webhook-Signature") != credentials.Sign(got) {
			t.Errorf("%d bytes, %v: %v", len(got), err, r.Header)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer gate.Close()
	for name, messages := range map[string]iter.Seq2[Message, error]{
		"message":   messagesOf(Message{Body: content, Gzip: packed.Bytes()}),
		"recording": ReadRecorded(&recording, 0),
	} {
		var ledger bytes.Buffer
		s, err := Replay(t.Context(), Config{Target: gate.URL, Credentials: credentials,
			Ledger: &ledger, Messages: messages})
		if err != nil || s.Accepted != 1 {
			t.Fatalf("%s: %+v, %v", name, s, err)
		}
		sum := sha256.Sum256(packed.Bytes())
		if a := attempts(t, &ledger)[0]; a.MessageID != "one" || !a.Gzip ||
			a.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: %+v", name, a)
		}
	}
	bad := `{"atMs":0,"header":[{"name":"Content-Encoding","value":"gzip"}],"body":"{}"}`
	for _, err := range ReadRecorded(strings.NewReader(bad), 0) {
		if err == nil || !strings.Contains(err.Error(), "gzip") {
			t.Errorf("a body that is not compressed: %v", err)
		}
	}
}
