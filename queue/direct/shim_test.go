package direct

import (
	"context"
	"sync"

	"github.com/hookgate/hookgate"
)

// shim lets a store that asks for epochs take batches without: until Apply takes them.
type shim struct {
	backing
	once   sync.Once
	epochs map[int]hookgate.Epoch
}

func (s *shim) Apply(ctx context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	s.once.Do(func() {
		s.epochs = map[int]hookgate.Epoch{}
		for p := range 16 {
			s.epochs[p], _ = s.Acquire(ctx, p)
		}
	})
	c := *b
	c.Epochs = s.epochs
	return s.backing.Apply(ctx, &c)
}
