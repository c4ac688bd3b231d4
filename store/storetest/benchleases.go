package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// LeaseStore has the ports that BenchmarkLeases measures.
type LeaseStore interface {
	hookgate.Subscriptions
	hookgate.Leases
}

// BenchmarkLeases measures a commit that stores a lease of 500 events, the one that acknowledges
// all of them with an attempt each, and PullState beside the leases that have ended.
func BenchmarkLeases(b *testing.B, s LeaseStore) {
	const size = 500
	ctx := b.Context()
	if _, err := s.Define(ctx, []hookgate.SubscriptionDefinition{{Name: "pull",
		Start: hookgate.Start{At: hookgate.StartNow}, Order: hookgate.OrderKey,
		Definition: "{}"}}, true); err != nil {
		b.Fatal(err)
	}
	state, err := s.PullState(ctx, "pull")
	if err != nil {
		b.Fatal(err)
	}
	took := map[string][]time.Duration{}
	timed := func(name string, call func() error) {
		begun := time.Now()
		if err := call(); err != nil {
			b.Fatal(err)
		}
		took[name] = append(took[name], time.Since(begun))
	}
	commit := func(r *hookgate.Results) (err error) {
		state.Epoch, _, err = s.Commit(ctx, "pull", state.Epoch, state.Version, r)
		return err
	}
	next := state.Cursor
	for n := 0; b.Loop(); n++ {
		now := time.Now()
		lease := hookgate.Lease{ID: fmt.Sprint("lease-", n), Began: now, Until: now.Add(time.Minute)}
		var attempts []hookgate.Attempt
		for i := range size {
			next++
			lease.Events = append(lease.Events, hookgate.LeasedEvent{Event: next,
				OrderingKey: fmt.Sprint("customer-", i%100), Path: true})
			attempts = append(attempts, hookgate.Attempt{Event: next, Number: 1,
				Outcome: hookgate.AttemptDelivered, At: now, Took: time.Second})
		}
		timed("lease", func() error {
			return commit(&hookgate.Results{Cursor: next, Leases: []hookgate.Lease{lease}})
		})
		for i := range lease.Events {
			lease.Events[i].State = hookgate.LeasedAcked
		}
		timed("ack", func() error {
			return commit(&hookgate.Results{Attempts: attempts, Leases: []hookgate.Lease{lease}})
		})
		timed("state", func() error { _, err := s.PullState(ctx, "pull"); return err })
	}
	for name, all := range took {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, name+"-p50-ms")
		b.ReportMetric(float64(all[len(all)*95/100].Microseconds())/1000, name+"-p95-ms")
	}
}
