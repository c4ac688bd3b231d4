package backoff

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var errAway = errors.New("away")

// TestRetry: Retry calls until it succeeds, passes on the number of the attempt and the error
// before it, and its pauses double up to the bound and vary by half.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pauses []time.Duration
		p := Policy{Min: time.Second, Max: 10 * time.Second,
			Failed: func(a Attempt, pause time.Duration) {
				if a.Number != len(pauses)+1 || a.Err != errAway {
					t.Errorf("failed is called with %+v after %d pauses", a, len(pauses))
				}
				pauses = append(pauses, pause)
			}}
		begun, calls := time.Now(), 0
		err := p.Retry(t.Context(), func(a Attempt) error {
			if calls++; a.Number != calls || (a.Err == errAway) != (calls > 1) {
				t.Errorf("call %d is attempt %+v", calls, a)
			}
			if calls <= 8 {
				return errAway
			}
			return nil
		})
		if err != nil || calls != 9 || len(pauses) != 8 {
			t.Fatalf("%d calls and %d pauses, error %v", calls, len(pauses), err)
		}
		sum := time.Duration(0)
		for i, pause := range pauses {
			mean := min(time.Second<<i, 10*time.Second)
			if pause < mean/2 || pause > mean*3/2 {
				t.Errorf("pause %d is %v, want about %v", i, pause, mean)
			}
			sum += pause
		}
		if took := time.Since(begun); took != sum {
			t.Errorf("the attempts took %v, want the pauses' %v", took, sum)
		}
	})
}

// TestStop: an error that stops is returned as it is.
func TestStop(t *testing.T) {
	p := Policy{Min: time.Hour, Max: time.Hour, Stop: func(err error) bool { return err == errAway }}
	if err := p.Retry(t.Context(), func(Attempt) error { return errAway }); err != errAway {
		t.Errorf("got %v", err)
	}
}

// TestContextEnds: the end of the context ends a pause at once, and the error says both; a context
// that has ended before permits no call.
func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		p := Policy{Min: time.Hour, Max: time.Hour}
		err := p.Retry(ctx, func(Attempt) error { return errAway })
		if !errors.Is(err, errAway) || !errors.Is(err, context.DeadlineExceeded) ||
			time.Since(begun) != time.Second {
			t.Errorf("after %v it got %v", time.Since(begun), err)
		}
		err = p.Retry(ctx, func(Attempt) error { t.Error("called"); return nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with an ended context it got %v", err)
		}
	})
}

// TestPauseIsBounded: no number of failures makes the pause overflow.
func TestPauseIsBounded(t *testing.T) {
	p := Policy{Min: time.Second, Max: time.Minute}
	for _, failures := range []int{0, 1, 7, 64, 1 << 40} {
		if pause := p.Pause(failures); pause < p.Min/2 || pause > p.Max*3/2 {
			t.Errorf("after %d failures the pause is %v", failures, pause)
		}
	}
}
