package memory_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/memory"
	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/store/storetest"
)

func TestMain(m *testing.M) {
	modeltest.Checks(30)
	m.Run()
}

// TestConformance runs the suite of the ports. A place is a number, and its store stays when it is
// closed.
func TestConformance(t *testing.T) {
	places := map[string]*memory.Store{}
	storetest.RunDelivery(t, storetest.DeliveryBackend{
		Leases: true,
		NewPlace: func(storetest.TB) string {
			place := fmt.Sprint(len(places))
			places[place] = memory.New()
			return place
		},
		Open: func(_ storetest.TB, place string) storetest.DeliveryStore {
			return instance(places[place])
		},
	})
}

func instance(s *memory.Store) storetest.DeliveryStore {
	return storetest.DeliveryStore{
		Events: s, Owner: s, Pull: s, Reader: s, Control: s,
		Append: func(_ storetest.TB, events ...hookgate.Event) []int64 {
			return s.Append(events...)
		},
		Other:  func(storetest.TB) { s.Skip() },
		Remove: func(_ storetest.TB, until int64) { s.Remove(until) },
		FailWrites: func(done *bool) {
			if done == nil {
				s.SetFail(nil)
				return
			}
			s.SetFail(func(_ context.Context, op, _ string) (bool, error) {
				switch op {
				case "ReadLog", "ReadEvents", "Due", "PullState", "EndedLease", "Subscriptions",
					"Exceptions", "Attempts", "RedeliveryJobs":
					return false, nil
				}
				return *done, errors.New("injected write error")
			})
		},
		Close: func() error { return nil },
	}
}
