package sqlite

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookgate/hookgate/store/storetest"
)

// TestDelivery runs the suite of the ports of delivery. The stores index a few events at a time.
func TestDelivery(t *testing.T) {
	root := t.TempDir()
	storetest.RunDelivery(t, storetest.DeliveryBackend{
		NewPlace: func(t storetest.TB) string {
			dir, err := os.MkdirTemp(root, "")
			if err != nil {
				t.Fatalf("%v", err)
			}
			path := filepath.Join(dir, "store.db")
			if err := emptyStore.Copy(path); err != nil {
				t.Fatalf("%v", err)
			}
			return path
		},
		Open: func(t storetest.TB, place string) storetest.DeliveryStore {
			s, failWrites := openBounded(t, place,
				lateBounds{set: 4, slice: 2, small: 1, most: 50, every: time.Millisecond})
			subs := s.Subscriptions()
			return storetest.DeliveryStore{Events: s, Owner: subs, Pull: subs, Reader: subs,
				Control: subs,
				Append:  storetest.AppendTo(s), Other: storetest.OtherIn(s), Remove: storetest.RemoveFrom(s),
				FailWrites: failWrites, Close: s.Close}
		},
	})
}
