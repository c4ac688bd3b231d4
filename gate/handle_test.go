package gate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgate/hookgate"
)

// quickly makes the retries of a handler fast.
func quickly(s *SubscriptionOptions) { s.Retry.First, s.Retry.Max = 1, time.Millisecond }

// handling opens a gate with one handler, and runs it until the function that it returns is called,
// or the test ends.
func handling(t *testing.T, o Options, h Handler,
	options ...func(*SubscriptionOptions)) (g *Gate, stop func()) {
	t.Helper()
	g, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Handle("billing", Filter{}, h, options...); err != nil {
		t.Error(err)
	}
	return g, run(t, g)
}

// outcomes returns the attempts of an event, as "outcome: reason".
func outcomes(t *testing.T, g *Gate, event int64) (all []string) {
	t.Helper()
	attempts, err := g.backends.subscriptions.Attempts(t.Context(), event)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range attempts {
		reason, _, _ := strings.Cut(a.Reason, "\n")
		all = append(all, strings.TrimSuffix(string(a.Outcome)+": "+reason, ": "))
	}
	return all
}

// TestHandle: each way in which a handler can end has its effect on the event.
func TestHandle(t *testing.T) {
	var mu sync.Mutex
	ids := map[string]int64{}
	paused := make(chan struct{})
	g, stop := handling(t, embedded(t), func(ctx context.Context, e *hookgate.Event) error {
		mu.Lock()
		ids[e.MessageID] = e.ID
		mu.Unlock()
		d, _ := DeliveryOf(ctx)
		switch {
		case e.MessageID == "dead":
			return Dead(errors.New("no such customer"))
		case e.MessageID == "pause":
			close(paused)
			return Pause(errors.New("the database is being moved"))
		case d.Attempt > 1:
			return nil
		}
		switch e.MessageID {
		case "fails":
			return errors.New("deadlock")
		case "panics":
			panic("nil map")
		case "exits":
			runtime.Goexit()
		case "later":
			return RetryAfter(time.Millisecond, errors.New("busy"))
		}
		return nil
	}, quickly, func(s *SubscriptionOptions) { s.Order = hookgate.OrderAll })
	sendIDs(t, g, "good", "dead", "fails", "panics", "exits", "later", "pause")
	<-paused
	stop() // all results are stored
	g, err := Open(t.Context(), g.options)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for id, want := range map[string][]string{
		"good":   {"delivered"},
		"dead":   {"dead_lettered: no such customer"},
		"fails":  {"failed: deadlock", "delivered"},
		"panics": {"failed: panic: nil map", "delivered"},
		"exits":  {"failed: the consumer ended its goroutine (runtime.Goexit)", "delivered"},
		"later":  {"failed: busy", "delivered"},
		"pause":  nil,
	} {
		if got := outcomes(t, g, ids[id]); !slices.Equal(got, want) {
			t.Errorf("%s has the attempts %q, want %q", id, got, want)
		}
	}
	infos, err := g.backends.subscriptions.Subscriptions(t.Context())
	if err != nil || len(infos) != 1 || infos[0].PauseReason != "the database is being moved" ||
		!infos[0].RemovedAt.IsZero() ||
		!strings.Contains(infos[0].Definition, `"handler":{"timeout":"30s","concurrency":1}`) {
		t.Errorf("the store has %+v, %v", infos, err)
	}
}

// TestHandleOrder: events of a key are handled in order, although attempts fail. No two attempts of
// one key run at a time.
func TestHandleOrder(t *testing.T) {
	const keys, each = 3, 10
	var (
		mu   sync.Mutex
		busy = map[string]bool{}
		done = map[string][]string{}
		left = keys * each
		all  = make(chan struct{})
	)
	g, _ := handling(t, embedded(t), func(ctx context.Context, e *hookgate.Event) error {
		mu.Lock()
		if busy[e.OrderingKey] {
			t.Errorf("two attempts of %s run at a time", e.OrderingKey)
		}
		busy[e.OrderingKey] = true
		mu.Unlock()
		runtime.Gosched()
		mu.Lock()
		defer mu.Unlock()
		busy[e.OrderingKey] = false
		if d, _ := DeliveryOf(ctx); d.Attempt < 3 && e.ID%2 == 0 {
			return errors.New("again")
		}
		done[e.OrderingKey] = append(done[e.OrderingKey], e.MessageID)
		if left--; left == 0 {
			close(all)
		}
		return nil
	}, quickly)
	want := map[string][]string{}
	for i := range keys * each {
		id, key := fmt.Sprintf("m%d", i), fmt.Sprintf("k%d", i%keys)
		want[key] = append(want[key], id)
		if status := send(t, g.Handler(), g.options, fmt.Sprintf(
			`{"messageId":%q,"eventType":"t","orderingKey":%q}`, id, key)); status != 202 {
			t.Errorf("%s is answered %d", id, status)
		}
	}
	<-all
	for key, ids := range want {
		if !slices.Equal(done[key], ids) {
			t.Errorf("%s was handled as %q", key, done[key])
		}
	}
}

// TestHandleRestart: a handler that is cut off by a stop has not used up an attempt. The next start
// continues with its event, and gets what arrived before Run.
func TestHandleRestart(t *testing.T) {
	o := embedded(t)
	o.ShutdownTimeout = time.Millisecond
	began := make(chan struct{})
	g, stop := handling(t, o, func(ctx context.Context, e *hookgate.Event) error {
		if e.MessageID == "a" {
			return nil
		}
		close(began)
		<-ctx.Done()
		return ctx.Err()
	})
	sendIDs(t, g, "a", "b")
	<-began
	stop()

	g, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	infos, err := g.backends.subscriptions.Subscriptions(t.Context())
	if err != nil || len(infos) != 1 || !infos[0].RemovedAt.IsZero() {
		t.Errorf("before Handle the store has %+v, %v", infos, err)
	}
	got := make(chan string, 10)
	g.Handle("billing", Filter{}, func(ctx context.Context, e *hookgate.Event) error {
		d, _ := DeliveryOf(ctx)
		got <- fmt.Sprint("billing ", e.MessageID, d.Attempt)
		return nil
	})
	sendIDs(t, g, "c")
	g.Handle("audit", Filter{}, func(_ context.Context, e *hookgate.Event) error {
		got <- "audit " + e.MessageID
		return nil
	})
	sendIDs(t, g, "d")
	stop = run(t, g)
	var all []string
	for range 4 {
		all = append(all, <-got)
	}
	stop()
	slices.Sort(all)
	want := []string{"audit d", "billing b1", "billing c1", "billing d1"}
	if !slices.Equal(all, want) {
		t.Errorf("the handlers got %q, want %q", all, want)
	}
}

// TestHandleErrors: Handle and Run return what is wrong with handlers.
func TestHandleErrors(t *testing.T) {
	o := embedded(t)
	o.Subscriptions = map[string]SubscriptionOptions{"pushed": PushTo("http://127.0.0.1:9/")}
	g, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	h := func(context.Context, *hookgate.Event) error { return nil }
	if err := g.Handle("good", Filter{}, h); err != nil {
		t.Error(err)
	}
	var all []string
	for _, c := range []struct {
		name   string
		filter Filter
		h      Handler
		option func(*SubscriptionOptions)
		want   string
	}{
		{"good", Filter{}, h, nil, "handlers.good is there already"},
		{"pushed", Filter{}, h, nil, "handlers.pushed has the name of a subscription"},
		{"nil", Filter{}, nil, nil, "handlers.nil has no function"},
		{"Bad", Filter{}, h, nil, `handlers: the name "Bad" must have`},
		{"f", Filter{Sources: []string{"nobody"}, Types: []string{""}}, h, nil,
			`handlers.f.sources has "nobody", and there is no such source; there are default`},
		{"o", Filter{}, h, func(s *SubscriptionOptions) { s.Handler = nil },
			"handlers.o has an option that removes SubscriptionOptions.Handler"},
		{"p", Filter{}, h, func(s *SubscriptionOptions) { s.Pull = &PullOptions{} },
			"handlers.p has a handler, and push or pull"},
		{"c", Filter{}, h, func(s *SubscriptionOptions) { *s.Handler = HandlerOptions{} },
			"handlers.c.handler.timeout is 0s"},
		{"r", Filter{}, h, func(s *SubscriptionOptions) { s.Retry.Final = []int{410} },
			"handlers.r.retry.final is for push"},
	} {
		options := []func(*SubscriptionOptions){}
		if c.option != nil {
			options = append(options, c.option)
		}
		err := g.Handle(c.name, c.filter, c.h, options...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Handle returns %v, want %q", c.name, err, c.want)
		}
		all = append(all, c.want)
	}
	err = g.Run(t.Context())
	for _, want := range all {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run returns %v, want %q in it", err, want)
		}
	}
	if err := g.Handle("late", Filter{}, h); err == nil {
		t.Error("Handle after Run succeeds")
	}
	options := PushTo("http://127.0.0.1:9/")
	options.Push, options.Handler = nil, &HandlerOptions{Timeout: 1, Concurrency: 1}
	o.Subscriptions["pushed"] = options
	if err := o.Check(); err == nil || !strings.Contains(err.Error(), "register handlers with") {
		t.Errorf("Check returns %v", err)
	}
}

// TestTwoGates: two gates in one process have nothing in common, and leave no goroutine behind.
func TestTwoGates(t *testing.T) {
	before := goleak.IgnoreCurrent()
	var stops []func()
	for _, name := range []string{"one", "two"} {
		got := make(chan string)
		g, stop := handling(t, embedded(t), func(_ context.Context, e *hookgate.Event) error {
			got <- e.MessageID
			return nil
		})
		stops = append(stops, stop)
		sendIDs(t, g, name)
		if id := <-got; id != name {
			t.Errorf("gate %s handles %s", name, id)
		}
	}
	for _, stop := range stops {
		stop()
	}
	goleak.VerifyNone(t, before)
}
