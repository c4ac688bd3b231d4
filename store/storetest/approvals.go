package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

// request returns a request by alice, made n minutes after start and valid for an hour.
func request(n int, target string) control.Approval {
	at := start.Add(time.Duration(n) * time.Minute)
	return control.Approval{
		Action: "dlq_purge", Target: target, Needs: control.RoleAdmin, RequestedBy: "alice",
		Role:      control.RoleAdmin,
		RequestID: hookgate.NewRequestID(at), RequestedAt: at, Reason: "they are \"tests\": ü",
		ExpiresAt: at.Add(time.Hour),
	}
}

func mustRequest(t *testing.T, s Instance, a control.Approval) control.Approval {
	t.Helper()
	kept, err := s.RequestApproval(t.Context(), a, 1000)
	if err != nil {
		t.Fatalf("request: %v", err)
	}
	return kept
}

func decision(id int64, state control.ApprovalState, by string,
	at time.Time) control.ApprovalDecision {
	return control.ApprovalDecision{ID: id, State: state, By: by, Reason: "because " + by +
		" says so", At: at}
}

// testApprovals: an approval reads the same wherever it is read, after it was requested, decided
// and used.
func testApprovals(t *testing.T, s Instance) {
	ctx := t.Context()
	if all, err := s.Approvals(ctx, control.ApprovalFilter{Limit: 10}); err != nil || len(all) != 0 {
		t.Fatalf("a new store has the approvals %v (error %v)", all, err)
	}
	// longer than an index entry can be
	want := request(0, `type="order.test" reason="ü\x00"`+strings.Repeat(" long", 5000))
	check := func(doing string, got control.Approval, err error) {
		t.Helper()
		if err != nil || got != want {
			t.Errorf("%s: %+v (error %v), want %+v", doing, got, err, want)
		}
		got, err = s.Approval(ctx, want.ID)
		if err != nil || got != want {
			t.Errorf("after %s it is %+v (error %v), want %+v", doing, got, err, want)
		}
	}
	got, err := s.RequestApproval(ctx, want, 1)
	want.ID, want.State = 1, control.ApprovalPending
	check("request", got, err)

	want.State, want.DecidedBy, want.DecidedAt, want.DecisionReason = control.ApprovalApproved, "bob",
		start.Add(time.Minute), "because bob says so"
	got, err = s.DecideApproval(ctx, decision(1, control.ApprovalApproved, "bob", want.DecidedAt))
	check("approval", got, err)

	want.State, want.UsedAt = control.ApprovalUsed, start.Add(2*time.Minute)
	want.UsedBy = hookgate.NewRequestID(want.UsedAt)
	got, err = s.UseApproval(ctx, 1, want.UsedBy, want.UsedAt)
	check("use", got, err)

	for _, id := range []int64{0, 2, -1} {
		_, err1 := s.Approval(ctx, id)
		_, err2 := s.DecideApproval(ctx, decision(id, control.ApprovalDenied, "bob", start))
		_, err3 := s.UseApproval(ctx, id, want.UsedBy, start)
		for _, err := range []error{err1, err2, err3} {
			if !errors.Is(err, hookgate.ErrNotFound) {
				t.Errorf("approval %d: %v, want ErrNotFound", id, err)
			}
		}
	}
}

// testApprovalStates tries every change in every state. A change that the state does not allow
// changes nothing and returns the approval as it is.
func testApprovalStates(t *testing.T, s Instance) {
	// times of the request and of its expiry
	const before, after = time.Hour - time.Microsecond, time.Hour
	type step struct {
		state control.ApprovalState // what it becomes
		by    string
		at    time.Duration
	}
	approve, deny, withdraw := step{control.ApprovalApproved, "bob", before},
		step{control.ApprovalDenied, "bob", before}, step{control.ApprovalDenied, "alice", before}
	use := step{state: control.ApprovalUsed, at: before}
	own := step{control.ApprovalApproved, "alice", 0}
	late := func(s step) step { s.at = after; return s }
	take := func(id int64, n step) (control.Approval, error) {
		at := start.Add(n.at)
		if n.state == control.ApprovalUsed {
			return s.UseApproval(t.Context(), id, hookgate.NewRequestID(at), at)
		}
		return s.DecideApproval(t.Context(), decision(id, n.state, n.by, at))
	}
	for n, test := range []struct{ done, allowed, refused []step }{
		{nil, []step{approve}, []step{own, use, late(approve), late(deny)}},
		{nil, []step{deny}, nil},
		{nil, []step{withdraw}, nil},
		{[]step{approve}, []step{use}, []step{approve, own, late(use), late(deny)}},
		{[]step{approve}, []step{deny}, nil},
		{[]step{approve}, []step{withdraw}, nil},
		{[]step{deny}, nil, []step{approve, deny, withdraw, own, use}},
		{[]step{approve, deny}, nil, []step{approve, deny, withdraw, own, use}},
		{[]step{approve, use}, nil, []step{approve, deny, withdraw, own, use}},
	} {
		a := mustRequest(t, s, request(0, fmt.Sprint("target ", n)))
		for _, d := range test.done {
			var err error
			if a, err = take(a.ID, d); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range test.refused {
			if got, err := take(a.ID, r); !errors.Is(err, control.ErrApprovalState) || got != a {
				t.Errorf("after %v, %v is %+v (error %v), want ErrApprovalState and %+v", test.done, r, got,
					err, a)
			}
		}
		for _, r := range test.allowed {
			if got, err := take(a.ID, r); err != nil || got.State != r.state || got.DecidedBy == "" {
				t.Errorf("after %v, %v is %+v (error %v)", test.done, r, got, err)
			}
		}
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("a refused request made the store fail: %v", err)
	}
}

// testApprovalRequests: a repeated request returns the existing one while that can be used. The
// limit applies to each person separately.
func testApprovalRequests(t *testing.T, s Instance) {
	ctx := t.Context()
	first := mustRequest(t, s, request(0, "a"))
	for n, same := range []func(){
		func() {},
		func() {
			var err error
			if first, err = s.DecideApproval(ctx, decision(first.ID, control.ApprovalApproved, "bob",
				start)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		same()
		if got, err := s.RequestApproval(ctx, request(59, "a"), 1); err != nil || got != first {
			t.Errorf("%d: the same again is %+v (error %v), want %+v", n, got, err, first)
		}
	}
	// the last request comes when the first has expired
	others := []control.Approval{request(0, "b"), request(0, "a"), request(0, "a"), request(60, "a")}
	others[1].Action, others[2].RequestedBy = "rollback", "carol"
	for i, other := range others {
		if got := mustRequest(t, s, other); got.ID != first.ID+int64(i)+1 {
			t.Errorf("request %+v is number %d", other, got.ID)
		}
	}
	// Until an hour after the start, b and rollback are pending; from then on, a is.
	for _, c := range []struct {
		minute, most int
		err          error
	}{{0, 3, control.ErrTooManyApprovals}, {30, 2, control.ErrTooManyApprovals},
		{60, 1, control.ErrTooManyApprovals}, {60, 2, nil}} {
		if _, err := s.RequestApproval(ctx, request(c.minute, "c"), c.most); !errors.Is(err, c.err) {
			t.Errorf("minute %d, at most %d: %v, want %v", c.minute, c.most, err, c.err)
		}
	}
	free := request(60, "c")
	free.RequestedBy = "dave"
	if got, err := s.RequestApproval(ctx, free, 1); err != nil || got.RequestedBy != "dave" {
		t.Errorf("another person's request is %+v (error %v)", got, err)
	}
	if err := s.Ping(ctx); err != nil {
		t.Errorf("a refused request made the store fail: %v", err)
	}
}

// testApprovalList: a listing pages by state and derives the state expired from the given time.
func testApprovalList(t *testing.T, s Instance) {
	ctx := t.Context()
	for n := range 10 {
		mustRequest(t, s, request(n, fmt.Sprint(n)))
	}
	at := start.Add(20 * time.Minute)
	for _, id := range []int64{2, 4, 6} {
		if _, err := s.DecideApproval(ctx, decision(id, control.ApprovalApproved, "bob",
			at)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.DecideApproval(ctx, decision(8, control.ApprovalDenied, "bob", at)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UseApproval(ctx, 4, hookgate.NewRequestID(at), at); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		state  control.ApprovalState
		minute int
		after  int64
		limit  int
		want   string
	}{
		{"", 0, 0, 100, "[1 2 3 4 5 6 7 8 9 10]"}, {"", 0, 3, 2, "[4 5]"}, {"", 0, 10, 2, "[]"},
		{control.ApprovalPending, 20, 0, 100, "[1 3 5 7 9 10]"}, {control.ApprovalPending, 20, 3, 2,
			"[5 7]"},
		{control.ApprovalApproved, 20, 0, 100, "[2 6]"}, {control.ApprovalDenied, 20, 0, 100, "[8]"},
		{control.ApprovalUsed, 20, 0, 100, "[4]"},
		{control.ApprovalExpired, 20, 0, 100, "[]"},
		// Number n expires at minute 59+n.
		{control.ApprovalPending, 65, 0, 100, "[7 9 10]"}, {control.ApprovalApproved, 65, 0, 100, "[]"},
		{control.ApprovalExpired, 65, 0, 100, "[1 2 3 5 6]"}, {control.ApprovalExpired, 1000, 5, 2,
			"[6 7]"}, {control.ApprovalUsed, 1000, 0, 100, "[4]"},
	} {
		f := control.ApprovalFilter{State: c.state,
			Now: start.Add(time.Duration(c.minute) * time.Minute), After: c.after, Limit: c.limit}
		all, err := s.Approvals(ctx, f)
		ids := []int64{}
		for _, a := range all {
			ids = append(ids, a.ID)
			if c.state != "" && a.StateAt(f.Now) != c.state {
				t.Errorf("%+v has %+v", f, a)
			}
		}
		if got := fmt.Sprint(ids); err != nil || got != c.want {
			t.Errorf("%+v has %s (error %v), want %s", f, got, err, c.want)
		}
	}
}

// testApprovalsConcurrent: of many concurrent identical requests all get the same approval, of many
// concurrent decisions one succeeds, and an approval is used once.
func testApprovalsConcurrent(t *testing.T, s Instance) {
	const callers, rounds = 8, 4
	ctx := t.Context()
	for round := range rounds {
		var group sync.WaitGroup
		var ids sync.Map
		for range callers {
			group.Go(func() {
				a, err := s.RequestApproval(ctx, request(0, fmt.Sprint(round)), rounds)
				if err != nil {
					t.Errorf("request: %v", err)
				}
				ids.Store(a.ID, true)
			})
		}
		group.Wait()
		var id int64
		ids.Range(func(key, _ any) bool {
			if id != 0 {
				t.Errorf("one request was kept as %d and %d", id, key)
			}
			id = key.(int64)
			return true
		})
		one := func(doing string, change func(n int) error) {
			var done, refused atomic.Int64
			for n := range callers {
				group.Go(func() {
					switch err := change(n); {
					case err == nil:
						done.Add(1)
					case errors.Is(err, control.ErrApprovalState):
						refused.Add(1)
					default:
						t.Errorf("%s: %v", doing, err)
					}
				})
			}
			group.Wait()
			if done.Load() != 1 || refused.Load() != callers-1 {
				t.Errorf("%s: %d did it and %d were refused, of %d", doing, done.Load(), refused.Load(),
					callers)
			}
		}
		one("decide", func(n int) error {
			_, err := s.DecideApproval(ctx, decision(id, control.ApprovalApproved, fmt.Sprint("decider ",
				n), start))
			return err
		})
		one("use", func(int) error {
			_, err := s.UseApproval(ctx, id, hookgate.NewRequestID(start), start)
			return err
		})
	}
	if err := s.Ping(ctx); err != nil {
		t.Errorf("a refused request made the store fail: %v", err)
	}
}

// testApprovalFails: a failed write returns an error whether it took effect or not. Repeating it is
// safe: nothing is stored, decided or used twice.
func testApprovalFails(t *testing.T, b Backend, done bool) {
	s := open(t, b)
	ctx := context.Background()
	now := start
	for n, step := range []struct {
		name string
		do   func() (control.Approval, error)
		want control.ApprovalState
	}{
		{"request", func() (control.Approval, error) {
			return s.RequestApproval(ctx, request(0, "a"),
				1)
		}, control.ApprovalPending},
		{"approve", func() (control.Approval, error) {
			return s.DecideApproval(ctx, decision(1, control.ApprovalApproved, "bob", now))
		}, control.ApprovalApproved},
		{"use", func() (control.Approval, error) {
			return s.UseApproval(ctx, 1,
				hookgate.NewRequestID(now), now)
		}, control.ApprovalUsed},
	} {
		s.FailWrites(&done)
		if got, err := step.do(); err == nil || got != (control.Approval{}) {
			t.Errorf("%s does not say that it failed: %+v", step.name, got)
		}
		s.FailWrites(nil)
		got, err := step.do()
		if refused := errors.Is(err, control.ErrApprovalState); refused != (done && n > 0) ||
			err != nil && !refused {
			t.Errorf("%s again: %v", step.name, err)
		}
		if got.ID != 1 || got.State != step.want {
			t.Errorf("after %s it is %+v", step.name, got)
		}
	}
	if all, err := s.Approvals(ctx, control.ApprovalFilter{Limit: 10}); err != nil || len(all) != 1 {
		t.Errorf("the approvals are %+v (error %v)", all, err)
	}
	mustVerify(t, s)
}
