package redis

import (
	"log/slog"
	"sync"
	"sync/atomic"
)

// health knows which partitions cannot be written, and why.
//
// A partition works after a write to it succeeded, and fails after an operation on it failed. An
// operation that began before the last successful write says nothing about the partition now.
type health struct {
	logger *slog.Logger
	// failing is the number of errors in errs. While it is 0, a successful write needs no lock.
	failing atomic.Int32

	// writes is the number of successful writes, by partition.
	writes []atomic.Int64

	mu   sync.Mutex // guards errs
	errs []error    // by partition; nil where the last write succeeded
}

func newHealth(c Config) *health {
	return &health{logger: c.Logger, errs: make([]error, c.Partitions), writes: make([]atomic.Int64,
		c.Partitions)}
}

// begin is called before an operation on a partition. Its result is the argument of failed.
func (h *health) begin(p int) int64 { return h.writes[p].Load() }

// wrote notes that a write to a partition succeeded. Only that ends the partition's error.
func (h *health) wrote(p int) {
	h.writes[p].Add(1)
	if h.failing.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.errs[p] == nil {
		return
	}
	h.errs[p] = nil
	if h.failing.Add(-1) == 0 {
		h.logger.Info("redis accepts writes again")
	}
}

// failed notes that an operation on a partition failed.
func (h *health) failed(p int, begun int64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.writes[p].Load() != begun {
		return
	}
	before := h.errs[p]
	h.errs[p] = err
	if before == nil && h.failing.Add(1) == 1 {
		h.logger.Error("cannot write to redis; the queue rejects requests until it can", "partition", p,
			"error",
			err)
	}
}

// err returns why writes to some partition fail; nil if none fail.
func (h *health) err() error {
	if h.failing.Load() == 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, err := range h.errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// sick returns the partitions whose last write failed.
func (h *health) sick() []int {
	if h.failing.Load() == 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var sick []int
	for p, err := range h.errs {
		if err != nil {
			sick = append(sick, p)
		}
	}
	return sick
}
