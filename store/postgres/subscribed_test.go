package postgres

import (
	"testing"

	"github.com/hookgate/hookgate/store/sqlstore"
	"github.com/hookgate/hookgate/store/storetest"
)

// TestSubscribed tests retention and lineage of a store with subscriptions.
func TestSubscribed(t *testing.T) {
	storetest.Subscribed(t, func(t *testing.T) (storetest.Instance, *sqlstore.Subscriptions) {
		i := instance(t, newDatabase(t))
		return i, i.Store.(*Store).Subscriptions()
	})
}
