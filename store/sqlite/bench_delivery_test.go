package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/hookgate/hookgate/store/storetest"
)

// BenchmarkDelivery measures the log and the subscriptions as delivery uses them.
func BenchmarkDelivery(b *testing.B) {
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "store.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	storetest.BenchmarkDelivery(b, s, s, s.Subscriptions())
}

// BenchmarkLeases measures what pull asks of the store.
func BenchmarkLeases(b *testing.B) {
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "store.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	storetest.BenchmarkLeases(b, s.Subscriptions())
}
