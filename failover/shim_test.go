package failover

import (
	"context"
	"sync"

	"github.com/hookgate/hookgate"
)

// withEpochs lets a store that asks for epochs take batches without: until Apply takes them.
func withEpochs(s hookgate.Store) hookgate.Store { return &shim{Store: s} }

type shim struct {
	hookgate.Store
	once   sync.Once
	epochs map[int]hookgate.Epoch
}

func (s *shim) Apply(ctx context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	s.once.Do(func() {
		s.epochs = map[int]hookgate.Epoch{}
		for p := range 16 {
			s.epochs[p], _ = s.Acquire(context.WithoutCancel(ctx), p)
		}
	})
	c := *b
	c.Epochs = s.epochs
	return s.Store.Apply(ctx, &c)
}
