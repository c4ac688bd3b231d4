package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/history"
)

// SearchesLeaveRoom checks that searches without an index wait while all slots are taken, and that
// indexed reads, token checks and Ping do not.
func SearchesLeaveRoom(t *testing.T, s interface {
	hookgate.Reader
	Access
	History
	TakeScanSlots() (giveBack func())
}) {
	giveBack := s.TakeScanSlots()
	look := func(q hookgate.EventSearch) error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // only a waiting call takes that long
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
		if err := look(hookgate.EventSearch{EventFilter: f, MaxTime: time.Second}); !errors.Is(err,
			context.DeadlineExceeded) {
			t.Errorf("search %+v: %v", f, err)
		}
		if err := list(f); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("listing %+v: %v", f, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Minutes(ctx, longAgo, time.Now(), history.Subject{},
		func(*history.Minute) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("history: %v", err)
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
	giveBack()
	if _, err := s.Search(t.Context(),
		hookgate.EventSearch{EventFilter: hookgate.EventFilter{OrderingKey: "k"}}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
