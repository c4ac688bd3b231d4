// Package settingstest is the conformance suite of control.Settings. Each backend runs it in its
// own tests:
//
//	settingstest.Run(t, settingstest.Backend{Open: …})
package settingstest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate/control"
)

// Backend makes settings of one kind.
type Backend struct {
	// NewPlace returns a place without settings.
	NewPlace func(t *testing.T) string
	// Open opens the settings at a place. After End or Crash the same place has the same settings.
	Open func(t *testing.T, place string) Instance
	// Shared reports whether a place can be open twice at a time, as by two processes.
	Shared bool
}

// Instance is the settings of one process, with the faults that the suite needs.
type Instance struct {
	control.Settings
	// End closes the settings and what the backend opened for them. Crash ends them as the death of
	// the process would.
	End, Crash func()
	// FailWrites makes each following write fail: with done false before it takes effect, with done
	// true afterwards. nil ends that.
	FailWrites func(done *bool)
}

// waitFor bounds the wait for something that must happen. It only ends tests that fail.
const waitFor = time.Minute

// Run runs the suite.
func Run(t *testing.T, b Backend) {
	t.Run("Mode", func(t *testing.T) { testMode(t, b) })
	t.Run("Canary", func(t *testing.T) { testCanary(t, b) })
	t.Run("Closed", func(t *testing.T) { testClosed(t, b) })
	for name, done := range map[string]bool{"NotDone": false, "Done": true} {
		t.Run("SetModeFails"+name, func(t *testing.T) { testModeFails(t, b, done) })
		t.Run("SetCanaryFails"+name, func(t *testing.T) { testCanaryFails(t, b, done) })
	}
	if b.Shared {
		t.Run("OtherProcesses", func(t *testing.T) { testOthers(t, b) })
	}
}

func open(t *testing.T, b Backend, place string) Instance {
	t.Helper()
	s := b.Open(t, place)
	t.Cleanup(s.End)
	return s
}

func mustSetMode(t *testing.T, s control.Settings, m control.Mode) {
	t.Helper()
	if err := s.SetMode(t.Context(), m); err != nil || s.Mode() != m {
		t.Fatalf("set mode %s: %v, and the mode is %s", m, err, s.Mode())
	}
}

func canaryOf(version int64, percent int) control.Canary {
	return control.Canary{
		Version: version, Percent: percent, At: time.Unix(1_700_000_000, 0).UTC(),
		By: fmt.Sprint("person ", percent), Reason: "a \"reason\"",
	}
}

func mustSetCanary(t *testing.T, s control.Settings, c control.Canary) {
	t.Helper()
	if err := s.SetCanary(t.Context(), c); err != nil || s.Canary() != c {
		t.Fatalf("set %v: %v, and the canary is %v", c, err, s.Canary())
	}
}

// testMode: the first mode is normal. A mode survives the end and the crash of the process.
func testMode(t *testing.T, b Backend) {
	place := b.NewPlace(t)
	s := open(t, b, place)
	if m := s.Mode(); m != control.ModeNormal {
		t.Errorf("the first mode is %s", m)
	}
	for _, m := range []control.Mode{control.ModeBuffer, control.ModeReadOnly,
		control.ModeReadOnly, control.ModeNormal} {
		mustSetMode(t, s, m)
		s.Crash()
		if s = open(t, b, place); s.Mode() != m {
			t.Errorf("after a crash the mode is %s, want %s", s.Mode(), m)
		}
		s.End()
		if s = open(t, b, place); s.Mode() != m {
			t.Errorf("after the end of the process the mode is %s, want %s", s.Mode(), m)
		}
	}
}

// testCanary: the canary with the highest version is stored. Setting the same one again is
// harmless; an older one, and another of the same version, are rejected. The canary survives the
// end and the crash of the process. Of many concurrent changes to one version, one is stored.
func testCanary(t *testing.T, b Backend) {
	place := b.NewPlace(t)
	s := open(t, b, place)
	if c := s.Canary(); c != (control.Canary{}) {
		t.Errorf("the first canary is %v", c)
	}
	mustSetCanary(t, s, canaryOf(1, 10))
	mustSetCanary(t, s, canaryOf(5, 50))
	mustSetCanary(t, s, canaryOf(5, 50))
	for _, c := range []control.Canary{canaryOf(5, 60), canaryOf(4, 100), canaryOf(1, 10)} {
		if err := s.SetCanary(t.Context(), c); !errors.Is(err, control.ErrCanaryChanged) ||
			s.Canary() != canaryOf(5, 50) {
			t.Errorf("set %v after version 5: %v, and the canary is %v", c, err, s.Canary())
		}
	}
	var won atomic.Int64
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			switch err := s.SetCanary(t.Context(), canaryOf(6, n)); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, control.ErrCanaryChanged):
				t.Errorf("set: %v", err)
			}
		})
	}
	all.Wait()
	kept := s.Canary()
	if won.Load() != 1 || kept.Version != 6 {
		t.Errorf("%d of 20 changes to one version were stored, and the canary is %v", won.Load(), kept)
	}
	for _, end := range []func(Instance){func(s Instance) { s.Crash() },
		func(s Instance) { s.End() }} {
		end(s)
		if s = open(t, b, place); s.Canary() != kept {
			t.Errorf("after the end of its process the canary is %v, want %v", s.Canary(), kept)
		}
	}
}

// testClosed: closed settings do not change.
func testClosed(t *testing.T, b Backend) {
	s := open(t, b, b.NewPlace(t))
	s.End()
	if err := s.SetMode(t.Context(), control.ModeBuffer); err == nil {
		t.Error("closed settings store a mode")
	}
	if err := s.SetCanary(t.Context(), canaryOf(9, 9)); err == nil {
		t.Error("closed settings store a canary")
	}
}

// testModeFails: the write of a mode fails, before or after it took effect. The same call again
// stores the mode.
func testModeFails(t *testing.T, b Backend, done bool) {
	place := b.NewPlace(t)
	s := open(t, b, place)
	mustSetMode(t, s, control.ModeReadOnly)
	s.FailWrites(&done)
	if err := s.SetMode(t.Context(), control.ModeBuffer); err == nil {
		t.Error("setting a mode whose write failed succeeds")
	}
	s.FailWrites(nil)
	mustSetMode(t, s, control.ModeBuffer)
	s.Crash()
	if s = open(t, b, place); s.Mode() != control.ModeBuffer {
		t.Errorf("after a crash the mode is %s", s.Mode())
	}
}

// testCanaryFails: the write of a canary fails, before or after it took effect. The same call again
// stores the canary.
func testCanaryFails(t *testing.T, b Backend, done bool) {
	place := b.NewPlace(t)
	s := open(t, b, place)
	mustSetCanary(t, s, canaryOf(1, 10))
	s.FailWrites(&done)
	if err := s.SetCanary(t.Context(), canaryOf(2, 50)); err == nil ||
		errors.Is(err, control.ErrCanaryChanged) {
		t.Errorf("setting a canary whose write failed got %v", err)
	}
	s.FailWrites(nil)
	mustSetCanary(t, s, canaryOf(2, 50))
	s.Crash()
	if s = open(t, b, place); s.Canary() != canaryOf(2, 50) {
		t.Errorf("after a crash the canary is %v", s.Canary())
	}
}

// testOthers: a process sees the changes of another. Of the changes of two processes to one
// version, one is stored.
func testOthers(t *testing.T, b Backend) {
	place := b.NewPlace(t)
	one, two := open(t, b, place), open(t, b, place)
	mustSetMode(t, one, control.ModeReadOnly)
	mustSetCanary(t, two, canaryOf(1, 10))
	ctx, cancel := context.WithTimeout(t.Context(), waitFor)
	defer cancel()
	for two.Mode() != control.ModeReadOnly || one.Canary() != canaryOf(1, 10) {
		select {
		case <-ctx.Done():
			t.Fatalf("the mode of one is %s in two, the canary of two is %v in one", two.Mode(),
				one.Canary())
		case <-time.After(10 * time.Millisecond):
		}
	}
	errs := make(chan error, 2)
	for n, s := range []Instance{one, two} {
		go func() { errs <- s.SetCanary(ctx, canaryOf(2, n)) }()
	}
	first, second := <-errs, <-errs
	if (first == nil) == (second == nil) || !errors.Is(errors.Join(first, second),
		control.ErrCanaryChanged) {
		t.Errorf("two changes to one version got %v and %v", first, second)
	}
	for _, s := range []Instance{one, two} {
		if c := s.Canary(); c.Version != 2 {
			t.Errorf("then the canary is %v", c)
		}
	}
}
