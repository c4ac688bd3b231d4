package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// TestSearchesLeaveRoom: while as many look at events one by one as may, another one waits for its
// turn, and what an index serves, tokens and the health do not.
func TestSearchesLeaveRoom(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range cap(s.turns) {
		s.turns <- struct{}{}
	}
	look := func(q hookgate.EventSearch) error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // only what waits gets there
		defer cancel()
		_, err := s.Search(ctx, q)
		return err
	}
	list := func(f hookgate.EventFilter) (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		for _, err = range s.Events(ctx, f) {
		}
		return err
	}
	for _, f := range []hookgate.EventFilter{{OrderingKey: "k"}, {Source: "s"}, {BodyContains: "b"},
		{MessageIDPrefix: "m"}} {
		if err := look(hookgate.EventSearch{EventFilter: f, Patience: time.Second}); !errors.Is(err,
			context.DeadlineExceeded) {
			t.Errorf("search %+v: %v", f, err)
		}
		if err := list(f); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("listing %+v: %v", f, err)
		}
	}
	for _, f := range []hookgate.EventFilter{{}, {EventType: "t"}, {MessageID: "m"}} {
		if _, err := s.Search(t.Context(), hookgate.EventSearch{EventFilter: f}); err != nil {
			t.Errorf("search %+v: %v", f, err)
		}
	}
	for _, f := range []hookgate.EventFilter{{}, {MessageID: "m"},
		{RequestID: hookgate.NewRequestID(time.Now())}} {
		for _, err := range s.Events(t.Context(), f) {
			t.Errorf("listing %+v: %v", f, err)
		}
	}
	if _, err := s.Token(t.Context(), [32]byte{}); !errors.Is(err, hookgate.ErrNotFound) {
		t.Error(err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	for range cap(s.turns) {
		<-s.turns
	}
	if _, err := s.Search(t.Context(),
		hookgate.EventSearch{EventFilter: hookgate.EventFilter{OrderingKey: "k"}}); err != nil ||
		len(s.turns) > 0 {
		t.Errorf("afterwards: %v, and %d turns are taken", err, len(s.turns))
	}
}
