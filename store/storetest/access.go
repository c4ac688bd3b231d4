package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

// token returns a new token.
func token(name string) control.Token {
	return control.Token{
		Name: name, Role: control.RoleOperator, Hash: control.HashToken("text of " + name),
		CreatedAt: start, CreatedBy: "configured",
	}
}

// action returns the n-th action of a trail.
func action(n int) control.AdminAction {
	return control.AdminAction{
		At:        start.Add(time.Duration(n) * time.Second),
		RequestID: hookgate.NewRequestID(start.Add(time.Duration(n) * time.Second)),
		Actor:     "alice", Role: control.RoleOperator, RemoteAddr: "192.0.2.7:4711",
		Action: "maintenance",
		Target: fmt.Sprintf("read_only %d", n), Reason: "the \"database\" moves: ü",
		Result: control.ResultDone,
	}
}

func testTokens(t *testing.T, s Instance) {
	ctx := t.Context()
	if all, err := s.Tokens(ctx); err != nil || len(all) != 0 {
		t.Fatalf("a new store has the tokens %v (error %v)", all, err)
	}
	first, second := token("first"), token("second")
	second.Role, second.CreatedAt, second.CreatedBy, second.ExpiresAt = control.RoleConsumer,
		start.Add(time.Second), "first", start.Add(time.Hour)
	second.Subscriptions = []string{"billing", "ware-house_2"}
	for _, k := range []control.Token{second, first} {
		if err := s.CreateToken(ctx, k); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := s.Tokens(ctx); err != nil ||
		!reflect.DeepEqual(all, []control.Token{first, second}) {
		t.Errorf("the tokens are %+v (error %v)", all, err)
	}
	if got, err := s.Token(ctx, second.Hash); err != nil || !reflect.DeepEqual(got, second) {
		t.Errorf("found %+v (error %v), want %+v", got, err, second)
	}
	if got, err := s.Token(ctx, control.HashToken("nobody's")); !errors.Is(err,
		hookgate.ErrNotFound) {
		t.Errorf("nobody's hash finds %+v (error %v)", got, err)
	}
	second.RevokedAt = start.Add(time.Minute)
	if got, err := s.RevokeToken(ctx, "second", second.RevokedAt); err != nil || !reflect.DeepEqual(got, second) {
		t.Errorf("revoked %+v (error %v), want %+v", got, err, second)
	}
	if got, err := s.Token(ctx, second.Hash); err != nil || !reflect.DeepEqual(got, second) {
		t.Errorf("after its revocation it is %+v (error %v), want %+v", got, err, second)
	}
	if got, err := s.Token(ctx, first.Hash); err != nil || !reflect.DeepEqual(got, first) {
		t.Errorf("the other one is %+v (error %v), want %+v", got, err, first)
	}
	for _, name := range []string{"nobody", "", "FIRST", "first\x00", "\xff"} {
		if got, err := s.RevokeToken(ctx, name, start); !errors.Is(err, hookgate.ErrNotFound) {
			t.Errorf("revoking %q revoked %+v (error %v)", name, got, err)
		}
	}
}

// testTokenNames: a name cannot be used twice, and the existing token does not change.
func testTokenNames(t *testing.T, s Instance) {
	ctx := t.Context()
	mine := token("mine")
	if err := s.CreateToken(ctx, mine); err != nil {
		t.Fatal(err)
	}
	other := token("other")
	other.Name = "mine"
	if err := s.CreateToken(ctx, other); !errors.Is(err, control.ErrExists) {
		t.Errorf("a second token of the name: %v, want ErrExists", err)
	}
	if _, err := s.RevokeToken(ctx, "mine", start); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateToken(ctx, other); !errors.Is(err, control.ErrExists) {
		t.Errorf("the name of a revoked token: %v, want ErrExists", err)
	}
	if all, err := s.Tokens(ctx); err != nil || len(all) != 1 || all[0].Hash != mine.Hash {
		t.Errorf("the tokens are %+v (error %v)", all, err)
	}
	if err := s.Ping(ctx); err != nil {
		t.Errorf("a name that is taken made the store ill: %v", err)
	}
}

// testTokenRevokedTwice: the time of the first revocation stays.
func testTokenRevokedTwice(t *testing.T, s Instance) {
	if err := s.CreateToken(t.Context(), token("mine")); err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		got, err := s.RevokeToken(t.Context(), "mine", start.Add(time.Duration(n)*time.Hour))
		if err != nil || !got.RevokedAt.Equal(start) {
			t.Errorf("revocation %d: %+v (error %v)", n, got, err)
		}
	}
}

func testAdminTrail(t *testing.T, s Instance) {
	ctx := t.Context()
	if all, err := s.Actions(ctx, control.ActionFilter{Limit: 10}); err != nil || len(all) != 0 {
		t.Fatalf("a new store has the actions %v (error %v)", all, err)
	}
	const n = 7
	var want []control.AdminAction
	var previous [32]byte
	for i := range n {
		a := action(i)
		if err := s.RecordAction(ctx, a); err != nil {
			t.Fatal(err)
		}
		a.Sequence, a.Previous = int64(i+1), previous
		a.Hash = a.ChainHash()
		previous = a.Hash
		want = append(want, a)
	}
	for _, c := range []struct{ after, limit, from, to int }{{0, 100, 0, n}, {0, 3, 0, 3},
		{3, 3, 3, 6}, {6, 3, 6, n}, {n, 3, n, n}, {-5, 1, 0, 1}} {
		got, err := s.Actions(ctx, control.ActionFilter{After: int64(c.after), Limit: c.limit})
		if err != nil || len(got) != c.to-c.from || len(got) > 0 &&
			!reflect.DeepEqual(got, want[c.from:c.to]) {
			t.Errorf("%d actions behind %d are %+v (error %v), want %+v", c.limit, c.after, got, err,
				want[c.from:c.to])
		}
	}
	first := control.ActionFilter{Actor: want[2].Actor, Action: want[2].Action, From: want[2].At,
		To: want[2].At.Add(time.Microsecond), Newest: true, Limit: 10}
	for name, test := range map[string]struct {
		change func(*control.ActionFilter)
		want   []control.AdminAction
	}{
		"found":          {func(*control.ActionFilter) {}, want[2:3]},
		"another actor":  {func(f *control.ActionFilter) { f.Actor = "nobody" }, nil},
		"another action": {func(f *control.ActionFilter) { f.Action = "nothing" }, nil},
		"no text":        {func(f *control.ActionFilter) { f.Action = "zero\x00" }, nil},
		"too early":      {func(f *control.ActionFilter) { f.To = want[2].At }, nil},
		"too late":       {func(f *control.ActionFilter) { f.From = f.To }, nil},
		"newest": {func(f *control.ActionFilter) {
			*f = control.ActionFilter{Newest: true, Limit: 1}
		}, want[n-1:]},
		"newest, after": {func(f *control.ActionFilter) {
			*f = control.ActionFilter{Newest: true, After: 2, Limit: 10}
		}, want[:1]},
	} {
		f := first
		test.change(&f)
		if got, err := s.Actions(ctx, f); err != nil || len(got) != len(test.want) ||
			len(got) > 0 && !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: actions are %+v (error %v), want %+v", name, got, err, test.want)
		}
	}
	// A text that the database cannot store must not keep an action out of the trail.
	odd := action(n)
	odd.Target, odd.Reason = "zero\x00 and \xff", strings.Repeat("long ", 1000)
	if err := s.RecordAction(ctx, odd); err != nil {
		t.Errorf("an action with odd text: %v", err)
	}
}

// testAdminTrailConcurrent: concurrent actions form one chain, and each is in it once.
func testAdminTrailConcurrent(t *testing.T, s Instance) {
	const callers, each = 4, 8
	var group sync.WaitGroup
	for c := range callers {
		group.Go(func() {
			for n := range each {
				if err := s.RecordAction(t.Context(), action(c*each+n)); err != nil {
					t.Errorf("record action: %v", err)
				}
			}
		})
	}
	group.Wait()
	all, err := s.Actions(t.Context(), control.ActionFilter{Limit: 1000})
	if err != nil || len(all) != callers*each {
		t.Fatalf("%d actions are in the trail (error %v), want %d", len(all), err, callers*each)
	}
	seen := map[hookgate.RequestID]bool{}
	for i, a := range all {
		if a.Sequence != int64(i+1) || seen[a.RequestID] {
			t.Errorf("row %d has the number %d, and its action was there before: %t", i+1, a.Sequence,
				seen[a.RequestID])
		}
		seen[a.RequestID] = true
	}
}

// testAccessFails: a failed write returns an error whether it took effect or not. Readers see all
// of it or nothing, and the chain stays valid and continues.
func testAccessFails(t *testing.T, b Backend, done bool) {
	s := open(t, b)
	ctx := context.Background()
	kept := token("kept")
	if err := s.CreateToken(ctx, kept); err != nil {
		t.Fatal(err)
	}
	s.FailWrites(&done)
	if err := s.CreateToken(ctx, token("lost")); err == nil {
		t.Error("CreateToken does not say that it failed")
	}
	if _, err := s.RevokeToken(ctx, "kept", start); err == nil {
		t.Error("RevokeToken does not say that it failed")
	}
	if err := s.RecordAction(ctx, action(0)); err == nil {
		t.Error("RecordAction does not say that it failed")
	}
	s.FailWrites(nil)
	want := 0
	if done {
		want = 1
	}
	if all, err := s.Tokens(ctx); err != nil || len(all) != 1+want {
		t.Errorf("the tokens are %+v (error %v)", all, err)
	}
	if k, err := s.Token(ctx, kept.Hash); err != nil || k.RevokedAt.IsZero() == done {
		t.Errorf("the token is %+v (error %v)", k, err)
	}
	if err := s.RecordAction(ctx, action(1)); err != nil {
		t.Error(err)
	}
	if all, err := s.Actions(ctx, control.ActionFilter{Limit: 10}); err != nil || len(all) != want+1 {
		t.Errorf("the actions are %+v (error %v)", all, err)
	}
	mustVerify(t, s)
}
