package postgres

import (
	"slices"
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/storetest"
)

// TestText: text that PostgreSQL cannot store makes nothing fail except an identity. The audit
// chain covers the text as it is stored.
func TestText(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	w := newWorker(t, s, 0)
	const bad, good = "a\x00b\xffc\xed\xa0\x80", "a\uFFFDb\uFFFDc\uFFFD"
	b := w.batch(1)
	b.Worker, b.LastError, b.Attempts = bad, bad, 2
	r := &b.Records[0]
	r.RemoteAddr, r.Headers, r.Body = bad, []hookgate.Header{{Name: bad, Value: bad}}, []byte(bad)
	d := storetest.Sample(0, 50)
	d.MessageID, d.EventType, d.Source, d.OrderingKey, d.RemoteAddr, d.Body = bad, bad, bad, bad, bad,
		[]byte(bad)
	b.Dead = []hookgate.DeadLetter{{Record: d, Reason: bad}}
	before := r.Request
	mustApply(t, s, b, 1)
	if r.RemoteAddr != before.RemoteAddr {
		t.Error("the caller's record was changed")
	}
	for e, err := range s.Events(t.Context(), hookgate.EventFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		body, err := s.Body(t.Context(), e.ID)
		if err != nil || string(body) != bad || e.RemoteAddr != good || len(e.Headers) != 1 ||
			strings.ToValidUTF8(e.Headers[0].Value, "") != e.Headers[0].Value {
			t.Errorf("stored is %+v with body %q (error %v)", e, body, err)
		}
	}
	for letter, err := range s.DeadLetters(t.Context(), hookgate.DeadLetterFilter{}) {
		want := hookgate.Identity{Source: good, EventType: good, MessageID: good}
		body, bodyErr := s.DeadLetterBody(t.Context(), letter.ID)
		if err != nil || bodyErr != nil || letter.Reason != good || string(body) != bad ||
			letter.Identity != want {
			t.Errorf("dead letter is %+v (error %v) with body %q (error %v)", letter, err, body, bodyErr)
		}
		if _, err := s.Purge(t.Context(), hookgate.Purge{IDs: []string{letter.ID}, By: bad,
			Reason: bad}); err != nil {
			t.Error(err)
		}
	}
	if trails, err := s.Trace(t.Context(), "0-0", hookgate.RequestID{}, 1000); err != nil ||
		len(trails) != 1 || len(trails[0].Entries) != 5 ||
		!strings.Contains(string(trails[0].Entries[3].Metadata), good) {
		t.Errorf("the trail is %+v (error %v)", trails, err)
	}
	if err := verified(url); err != nil {
		t.Error(err)
	}
}

// TestPrefixes: a prefix of any bytes selects the texts that begin with it, even if it ends in the
// middle of a character. A prefix that no text can have selects nothing.
func TestPrefixes(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	w := newWorker(t, s, 0)
	ids := []string{"a", "\u00e9", "\u00e8x", "\u00e9\u00e9", "\ud7ff", "\ue000", "\ud7ffz",
		"\U0010ffff", "x\U0010ffff", "x\U0010ffffy", "y"}
	b := w.batch(len(ids))
	prefixes := []string{"z", "\xff", "\x00", "a\x00", "\xc3\xff", "x\xf4\x8f", "\xe2"}
	for i, id := range ids {
		b.Records[i].MessageID = id
		for n := range len(id) + 1 {
			prefixes = append(prefixes, id[:n])
		}
	}
	mustApply(t, s, b, len(ids))
	for _, prefix := range prefixes {
		var want []string
		for _, id := range ids {
			if strings.HasPrefix(id, prefix) {
				want = append(want, id)
			}
		}
		if got := messageIDs(t, s, hookgate.EventFilter{MessageIDPrefix: prefix}); !slices.Equal(got,
			want) {
			t.Errorf("prefix %q selects %q, want %q", prefix, got, want)
		}
	}
	for _, f := range []hookgate.EventFilter{{MessageID: "\x00"}, {Source: "\xff"},
		{EventType: "\x00"}, {OrderingKey: "\xff"}} {
		if got := messageIDs(t, s, f); len(got) != 0 {
			t.Errorf("%+v selects %q", f, got)
		}
	}
	if trails, err := s.Trace(t.Context(), "\x00", hookgate.RequestID{}, 1000); err != nil ||
		len(trails) != 0 {
		t.Errorf("the trace of no text is %v (error %v)", trails, err)
	}
}
