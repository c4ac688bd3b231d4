package postgres

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
)

// TestSettings: SwapSetting changes a setting only if it has the expected value. If several
// processes swap at the same time, one succeeds.
func TestSettings(t *testing.T) {
	url := newDatabase(t)
	s, failWrites := openStore(t, url)
	defer s.Close()
	for i, step := range []struct {
		name, before, after string
		want                bool
	}{
		{"mode", "normal", "read_only", false},
		{"mode", "", "read_only", true},
		{"mode", "", "normal", false},
		{"mode", "read_only", "normal", true},
		{"canary", "", "{}", true},
	} {
		if got, err := s.SwapSetting(t.Context(), step.name, step.before, step.after); err != nil ||
			got != step.want {
			t.Errorf("step %d got %t (error %v), want %t", i, got, err, step.want)
		}
	}
	done := false
	failWrites(&done)
	if _, err := s.SwapSetting(t.Context(), "mode", "normal", "buffer"); err == nil {
		t.Error("a failed commit got no error")
	}
	failWrites(nil)
	want := map[string]string{"mode": "normal", "canary": "{}"}
	if got, err := s.Settings(t.Context()); err != nil || !maps.Equal(got, want) {
		t.Errorf("the settings are %v (error %v), want %v", got, err, want)
	}
	var swapped atomic.Int64
	var all sync.WaitGroup
	for i := range 4 {
		other, _ := openStore(t, url)
		defer other.Close()
		all.Go(func() {
			ok, err := other.SwapSetting(t.Context(), "new", "", fmt.Sprint(i))
			if err != nil {
				t.Error(err)
			}
			if ok {
				swapped.Add(1)
			}
		})
	}
	all.Wait()
	if n := swapped.Load(); n != 1 {
		t.Errorf("%d processes swapped, want 1", n)
	}
}
