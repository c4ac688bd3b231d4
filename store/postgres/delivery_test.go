package postgres

import (
	"testing"

	"github.com/hookgate/hookgate/store/storetest"
)

// TestDelivery runs the suite of the ports of delivery.
func TestDelivery(t *testing.T) {
	storetest.RunDelivery(t, storetest.DeliveryBackend{
		Leases:   true,
		NewPlace: func(t storetest.TB) string { return newDatabase(t) },
		Open: func(t storetest.TB, place string) storetest.DeliveryStore {
			s, failWrites := openStore(t, place)
			subs := s.Subscriptions()
			return storetest.DeliveryStore{Events: s, Owner: subs, Pull: subs, Reader: subs,
				Control: subs,
				Append:  storetest.AppendTo(s), Other: storetest.OtherIn(s), Remove: storetest.RemoveFrom(s),
				FailWrites: failWrites, Close: s.Close}
		},
	})
}
