package attention

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgate/hookgate/internal/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestList: items are in the order of their sources; without any, the list is empty and not null.
func TestList(t *testing.T) {
	var none *List
	if got := none.Items(t.Context()); got == nil || len(got) != 0 {
		t.Errorf("no list has %v", got)
	}
	l := &List{}
	broken := false
	l.Add(FailedAudit(func() bool { return broken }))
	l.Add(func(context.Context) []Item { return []Item{{Name: "a"}, {Name: "b"}} })
	if got := l.Items(t.Context()); len(got) != 2 {
		t.Errorf("items %+v", got)
	}
	broken = true
	if got := l.Items(t.Context()); len(got) != 3 || got[0].Name != "audit" || got[0].Count != 1 ||
		got[2].Name != "b" {
		t.Errorf("items %+v", got)
	}
}

// TestDeadLetters: counts are cached, for longer if they are slow. A count that fails
// keeps the last item, and one more says so after a minute.
func TestDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n, asked int64
		var err error
		var takes time.Duration
		failed := time.Now().Add(-time.Hour)
		d := NewDeadLetters(func(ctx context.Context, most int64) (int64, error) {
			asked++
			select {
			case <-time.After(takes):
				return min(n, most), err
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}, func(context.Context) (time.Time, error) { return failed, nil })
		check := func(wantAsked int64, wantText string) {
			t.Helper()
			items := d.Items(t.Context())
			text := ""
			if len(items) > 0 {
				text = items[0].Text
			}
			if asked != wantAsked || !strings.HasPrefix(text, wantText) || wantText == "" && text != "" {
				t.Errorf("asked %d times, says %q; want %d and %q", asked, text, wantAsked, wantText)
			}
		}
		check(1, "")
		n = 1
		check(1, "")
		time.Sleep(readEvery)
		check(2, "1 dead letter is open")
		if got := d.Items(t.Context()); len(got) != 1 || got[0].Count != 1 ||
			got[0].Name != "dead_letters" || !got[0].Since.Equal(failed) ||
			got[0].Link != "/ui/dead-letters?state=open" {
			t.Errorf("items %+v", got)
		}
		n, takes = MaxDeadLetters+5, 500*time.Millisecond
		time.Sleep(readEvery)
		check(3, "At least 10000 dead letters are open")
		time.Sleep(readEvery)
		check(3, "At least")
		time.Sleep(readEvery)
		err = errors.New("the store is away")
		check(4, "At least")
		if len(d.Items(t.Context())) != 1 {
			t.Error("a short failure is an item")
		}
		if _, known := d.Open(t.Context()); known {
			t.Error("a number is known that the store did not tell")
		}
		time.Sleep(time.Minute)
		err, takes = nil, time.Hour // it hangs
		check(5, "At least")
		if got := d.Items(t.Context()); len(got) != 2 || got[1].Name != "unknown" ||
			got[1].What != "dead letters" || time.Since(*got[1].Since) < time.Minute {
			t.Errorf("items of a store that hangs are %+v", got)
		}
		// One that goes away does not end the read, so impatient callers cannot keep the number old.
		time.Sleep(time.Minute)
		n, takes = 2, 100*time.Millisecond
		gone, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		d.Items(gone)
		check(6, "2 dead letters are open")
		// All at once make one question.
		time.Sleep(time.Minute)
		for range 10 {
			go d.Items(t.Context())
		}
		time.Sleep(time.Second)
		check(7, "2 dead")
	})
}

// TestClock: a clock behind the last id by more than the tolerance is an item. Queries are cached,
// and without an answer there is no item.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last int64
		var err error
		asked := 0
		c := NewClock(func(context.Context) (int64, error) { asked++; return last, err })
		for _, test := range []struct {
			ahead time.Duration // of the clock, by the last id
			err   error
			want  string
		}{
			{-time.Minute, nil, ""},
			{clockTolerance / 2, nil, ""},
			{90 * time.Second, nil, "The clock is 1m30s behind"},
			{90 * time.Second, errors.New("away"), ""},
		} {
			time.Sleep(readEvery)
			last, err = time.Now().Add(test.ahead).UnixMicro(), test.err
			for range 3 {
				text := ""
				for _, i := range c.Items(t.Context()) {
					text = i.Text
				}
				if !strings.HasPrefix(text, test.want) || (test.want == "") != (text == "") {
					t.Errorf("with the last id %v ahead (%v) the text is %q, want %q", test.ahead, test.err, text,
						test.want)
				}
			}
		}
		if asked != 4 {
			t.Errorf("the store was asked %d times, want 4", asked)
		}
	})
}

// TestRefusing: a source that rejects more than half of enough requests is listed for five minutes.
func TestRefusing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards counts
		counts := map[metrics.Answered]int64{}
		add := func(source string, status int, n int64) {
			mu.Lock()
			defer mu.Unlock()
			counts[metrics.Answered{Source: source, Status: status}] += n
		}
		add("before", 401, 1000) // answers before the watch do not count
		r := NewRefusing(func() (all []metrics.Answered) {
			mu.Lock()
			defer mu.Unlock()
			for a, n := range counts {
				a.Count = n
				all = append(all, a)
			}
			return all
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.Run(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		listed := func() (names []string) {
			synctest.Wait()
			for _, i := range r.Items(t.Context()) {
				names = append(names, i.What)
			}
			return names
		}
		add("few", 401, fewest-1)
		add("half", 202, 50)
		add("half", 401, 50)
		add("most", 202, 50)
		add("most", 401, 30)
		add("most", 413, 21)
		add("away", 503, 10)
		add("other", 200, 100) // a sender that wants a 200
		if got, want := listed(), []string{"away", "most"}; !reflect.DeepEqual(got, want) {
			t.Errorf("listed are %v, want %v", got, want)
		}
		i := r.Items(t.Context())[1]
		if i.Name != "source_refuses" || i.Count != 51 ||
			i.Text != "Source most rejected 51 of 101 requests in the last 5 minutes" ||
			i.Link != "/ui/refused?source=most" {
			t.Errorf("item %+v", i)
		}
		time.Sleep(refusingFor - 2*sampleEvery)
		if i := r.Items(t.Context())[1]; i.Since == nil || time.Since(*i.Since) < 3*time.Minute {
			t.Errorf("after minutes the item is %+v", i)
		}
		if got := listed(); len(got) != 2 {
			t.Errorf("before five minutes are over, listed are %v", got)
		}
		time.Sleep(3 * sampleEvery)
		if got := listed(); got != nil {
			t.Errorf("after five minutes, listed are %v", got)
		}
		add("before", 401, 10)
		if got, want := listed(), []string{"before"}; !reflect.DeepEqual(got, want) {
			t.Errorf("listed are %v, want %v", got, want)
		}
	})
}
