package storetest

import (
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// testControlFails makes each change by a person fail, without effect or after it has taken effect.
// Either nothing changes, or all of it.
func testControlFails(t *testing.T, b DeliveryBackend, done bool) {
	s := b.Open(t, b.NewPlace(t))
	t.Cleanup(func() { s.Close() })
	ids := []int64{}
	changes := map[string]func(*subject) error{
		"pause": func(s *subject) error {
			_, err := s.Control.SetPaused(s.Context(), s.Name, true, person)
			return err
		},
		"seek back": func(s *subject) error {
			_, err := s.Control.Seek(s.Context(), s.Name, hookgate.Start{At: hookgate.StartBeginning},
				false, person)
			return err
		},
		"seek forward": func(s *subject) error {
			_, err := s.Control.Seek(s.Context(), s.Name, hookgate.Start{At: hookgate.StartNow}, false,
				person)
			return err
		},
		"retry": func(s *subject) error {
			_, err := s.Control.Resolve(s.Context(), hookgate.ExceptionFilter{Subscription: s.Name},
				hookgate.ResolveRetry, false, person)
			return err
		},
		"skip": func(s *subject) error {
			_, err := s.Control.Resolve(s.Context(), hookgate.ExceptionFilter{Subscription: s.Name},
				hookgate.ResolveSkip, false, person)
			return err
		},
		"dead letter": func(s *subject) error {
			_, err := s.Control.Resolve(s.Context(), hookgate.ExceptionFilter{Subscription: s.Name},
				hookgate.ResolveDeadLetter, false, person)
			return err
		},
		"redeliver": func(s *subject) error {
			_, _, err := s.Control.Redeliver(s.Context(), s.Name, hookgate.RedeliveryJob{}, false, person)
			return err
		},
		"cancel": func(s *subject) error {
			_, err := s.Control.CancelJob(s.Context(), s.Name, s.jobs(1)[0].ID, person)
			return err
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			d := &deliveryTest{T: t, DeliveryStore: s, leases: b.Leases, prefix: name}
			s := d.subscribe("a")
			ids = append(ids, d.append("k", "l", "m")...)
			last := ids[len(ids)-3:]
			s.save(&hookgate.Results{Cursor: last[2], Created: []hookgate.Exception{
				waiting(last[0], "k", day), parked(last[1], "l")}, Clock: time.Hour,
				Holds: []hookgate.Hold{{OrderingKey: "k", After: last[0] - 1}}})
			s.redeliver(hookgate.RedeliveryJob{Events: last})
			before := s.snapshot(last...)
			s.FailWrites(&done)
			err := change(s)
			s.FailWrites(nil)
			if err == nil {
				t.Errorf("the call returned no error")
			}
			if after := s.snapshot(last...); (after != before) != done {
				t.Errorf("the state after the call is\n%s\nand before it was\n%s", after, before)
			}
		})
	}
	t.Run("forget", func(t *testing.T) {
		d := &deliveryTest{T: t, DeliveryStore: s, leases: b.Leases, prefix: "forget"}
		s := d.subscribe("a")
		s.pause(true)
		s.FailWrites(&done)
		err := d.Control.Forget(d.Context(), s.Name, person)
		s.FailWrites(nil)
		if _, found := d.find(s.Name); err == nil || found == done {
			t.Errorf("forget returned %v, and the subscription is there: %v", err, found)
		}
	})
}

// testDeliveryReopen closes and opens a store. The subscription is as before. An embedded store has
// no owner then, because its owner was in the process that closed it.
func testDeliveryReopen(t *testing.T, b DeliveryBackend) {
	place := b.NewPlace(t)
	store := b.Open(t, place)
	d := &deliveryTest{T: t, DeliveryStore: store, leases: b.Leases, prefix: "reopen"}
	s := d.subscribe("a")
	ids := d.append("k", "l", "m")
	s.save(&hookgate.Results{Cursor: ids[1], Created: []hookgate.Exception{waiting(ids[0], "k", day),
		parked(ids[1], "l")}, Clock: time.Hour, Holds: []hookgate.Hold{{OrderingKey: "k",
		After: ids[0] - 1}}, Attempts: []hookgate.Attempt{tried(ids[2], 1, hookgate.AttemptDelivered)},
		Leases: []hookgate.Lease{d.lease("1", ids, "k", "l")}})
	s.redeliver(hookgate.RedeliveryJob{Events: ids})
	s.resolve(hookgate.ResolveRetry, ids[0])
	want := s.snapshot(ids...)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store = b.Open(t, place)
	t.Cleanup(func() { store.Close() })
	d.DeliveryStore = store
	owner := ""
	if b.Leases {
		owner = "owner"
	}
	if e, info := s.entry(), s.info(); e.Owner != owner || info.Owner != owner {
		t.Errorf("opened again, the store says that %q and %q own the subscription", e.Owner, info.Owner)
	}
	s.save(&hookgate.Results{}) // nobody has taken the subscription over
	if got := s.snapshot(ids...); got != want {
		t.Errorf("opened again, the subscription is\n%s\nand before it was\n%s", got, want)
	}
	events, err := store.Events.ReadEvents(t.Context(), ids)
	if next := d.append("k")[0]; err != nil || len(events) != 3 || next <= ids[2] {
		t.Errorf("%d events are left, error %v; the next one has id %d after %d", len(events), err, next,
			ids[2])
	}
}
