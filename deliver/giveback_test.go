package deliver_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
)

// TestTakesLeasesBack: clients have leased events of a subscription that is pushed from now on. All
// events are pushed, those of a key in their order, and the leases are gone.
func TestTakesLeasesBack(t *testing.T) {
	for _, order := range []hookgate.Order{hookgate.OrderKey, hookgate.OrderAll} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, deliver.Subscription{
				Definition: hookgate.SubscriptionDefinition{Order: order}})
			defs := []hookgate.SubscriptionDefinition{w.sub.Definition}
			if _, err := w.store.Define(t.Context(), defs, true); err != nil {
				t.Fatal(err)
			}
			ids := w.append("a", "", "b", "a", "b")
			state, err := w.store.PullState(t.Context(), "billing")
			if err != nil {
				t.Fatal(err)
			}
			lease := hookgate.Lease{ID: "l", Began: state.Now, Until: state.Now.Add(time.Hour)}
			for i, key := range []string{"a", "", "b"} {
				e := hookgate.LeasedEvent{Event: ids[i], OrderingKey: key, Path: true}
				if order == hookgate.OrderAll {
					e.OrderingKey = ""
				}
				lease.Events = append(lease.Events, e)
			}
			r := &hookgate.Results{Cursor: ids[2], Leases: []hookgate.Lease{lease}}
			if order == hookgate.OrderAll {
				r.Cursor = ids[0] - 1
			}
			if _, _, err := w.store.Commit(t.Context(), "billing", state.Epoch, state.Version,
				r); err != nil {
				t.Fatal(err)
			}
			p := w.start("a", 0)
			time.Sleep(time.Minute)
			p.end()
			w.mustSettle()
			if i := w.info(); i.Leases != 0 {
				t.Errorf("%+v", i)
			}
		})
	}
}

// TestTakesJobBack: clients have leased two of three events of a redelivery job when the
// subscription begins to push. The job ends, and each of its events counts once.
func TestTakesJobBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deliver.Subscription{})
		p := w.start("a", 0)
		ids := w.append("a", "", "b")
		time.Sleep(time.Second)
		p.end()
		job, _, err := w.store.Redeliver(t.Context(), "billing", hookgate.RedeliveryJob{}, false,
			hookgate.Person{})
		if err != nil {
			t.Fatal(err)
		}
		state, err := w.store.PullState(t.Context(), "billing")
		if err != nil {
			t.Fatal(err)
		}
		lease := hookgate.Lease{ID: "l", Began: state.Now, Until: state.Now.Add(time.Hour)}
		for _, id := range ids[:2] {
			lease.Events = append(lease.Events, hookgate.LeasedEvent{Event: id, Job: job.ID,
				Redelivery: job.Redelivery})
		}
		r := &hookgate.Results{Cursor: state.Cursor, Leases: []hookgate.Lease{lease},
			Jobs: []hookgate.JobProgress{{ID: job.ID, Position: ids[1]}}}
		if _, _, err := w.store.Commit(t.Context(), "billing", state.Epoch, state.Version,
			r); err != nil {
			t.Fatal(err)
		}
		p = w.start("a", 0)
		time.Sleep(time.Minute)
		p.end()
		w.mustSettle()
		jobs, err := w.store.RedeliveryJobs(t.Context(), "billing", 1)
		if err != nil || jobs[0].EndedAt.IsZero() || jobs[0].Failed != 2 || jobs[0].Delivered != 1 {
			t.Errorf("%+v, error %v", jobs, err)
		}
	})
}
