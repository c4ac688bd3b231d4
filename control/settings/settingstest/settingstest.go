// Package settingstest is the conformance suite of control.Settings. A backend runs it from its
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
	// NewPlace returns a place where no settings have been kept.
	NewPlace func(t *testing.T) string
	// Open opens the settings at a place. The same place again has the same settings, after they were
	// closed or have crashed.
	Open func(t *testing.T, place string) Instance
	// Shared says that a place can be open twice at a time, as by two processes.
	Shared bool
}

// Instance is one process's settings and what the suite does to them.
type Instance struct {
	control.Settings
	// End closes the settings and what the backend opened for them. Crash ends them as the death of
	// the process would.
	End, Crash func()
	// FailWrites makes each write that follows fail: with done false before it took effect, with
	// done true after. Nil ends that.
	FailWrites func(done *bool)
}

// waitFor is how long the suite waits for something that must happen. It only ends tests that fail.
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

func mustKeep(t *testing.T, s control.Settings, c control.Canary) {
	t.Helper()
	if err := s.SetCanary(t.Context(), c); err != nil || s.Canary() != c {
		t.Fatalf("keep %v: %v, and the canary is %v", c, err, s.Canary())
	}
}

// testMode: the mode is normal until one is set, and survives the end of the process and its crash.
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

// testCanary: the newest canary is kept. The same one again does no harm; an older one, and another
// of the same version, are refused. It survives the end of the process and its crash. Of many
// changes from one version at once, one is kept.
func testCanary(t *testing.T, b Backend) {
	place := b.NewPlace(t)
	s := open(t, b, place)
	if c := s.Canary(); c != (control.Canary{}) {
		t.Errorf("the first canary is %v", c)
	}
	mustKeep(t, s, canaryOf(1, 10))
	mustKeep(t, s, canaryOf(5, 50))
	mustKeep(t, s, canaryOf(5, 50))
	for _, c := range []control.Canary{canaryOf(5, 60), canaryOf(4, 100), canaryOf(1, 10)} {
		if err := s.SetCanary(t.Context(), c); !errors.Is(err, control.ErrCanaryChanged) ||
			s.Canary() != canaryOf(5, 50) {
			t.Errorf("keep %v after version 5: %v, and the canary is %v", c, err, s.Canary())
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
				t.Errorf("keep: %v", err)
			}
		})
	}
	all.Wait()
	kept := s.Canary()
	if won.Load() != 1 || kept.Version != 6 {
		t.Errorf("%d of 20 changes to one version were kept, and the canary is %v", won.Load(), kept)
	}
	for _, end := range []func(Instance){func(s Instance) { s.Crash() },
		func(s Instance) { s.End() }} {
		end(s)
		if s = open(t, b, place); s.Canary() != kept {
			t.Errorf("after the end of its process the canary is %v, want %v", s.Canary(), kept)
		}
	}
}

// testClosed: closed settings change nothing.
func testClosed(t *testing.T, b Backend) {
	s := open(t, b, b.NewPlace(t))
	s.End()
	if err := s.SetMode(t.Context(), control.ModeBuffer); err == nil {
		t.Error("closed settings keep a mode")
	}
	if err := s.SetCanary(t.Context(), canaryOf(9, 9)); err == nil {
		t.Error("closed settings keep a canary")
	}
}

// testModeFails: the write of a mode fails, before or after it took effect. The same call again
// keeps it.
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
// keeps it.
func testCanaryFails(t *testing.T, b Backend, done bool) {
	place := b.NewPlace(t)
	s := open(t, b, place)
	mustKeep(t, s, canaryOf(1, 10))
	s.FailWrites(&done)
	if err := s.SetCanary(t.Context(), canaryOf(2, 50)); err == nil ||
		errors.Is(err, control.ErrCanaryChanged) {
		t.Errorf("keeping a canary whose write failed got %v", err)
	}
	s.FailWrites(nil)
	mustKeep(t, s, canaryOf(2, 50))
	s.Crash()
	if s = open(t, b, place); s.Canary() != canaryOf(2, 50) {
		t.Errorf("after a crash the canary is %v", s.Canary())
	}
}

// testOthers: another process sees the changes of this one, and of the changes of two processes
// from one version one is kept.
func testOthers(t *testing.T, b Backend) {
	place := b.NewPlace(t)
	one, two := open(t, b, place), open(t, b, place)
	mustSetMode(t, one, control.ModeReadOnly)
	mustKeep(t, two, canaryOf(1, 10))
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
