package settings_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/control/settings"
	"github.com/hookgate/hookgate/control/settings/settingstest"
	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/store/postgres"
	storesqlite "github.com/hookgate/hookgate/store/sqlite"
)

func TestMain(m *testing.M) {
	code := pgtest.Run(m).Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

var errBroken = errors.New("broken off")

// breaking is a table whose writes, or all calls, fail on demand.
type breaking struct {
	settings.Table
	fail atomic.Pointer[bool]
	away atomic.Bool
}

func (b *breaking) Settings(ctx context.Context) (map[string]string, error) {
	if b.away.Load() {
		return nil, errBroken
	}
	return b.Table.Settings(ctx)
}

func (b *breaking) SwapSetting(ctx context.Context, name, before, after string) (bool, error) {
	done := b.fail.Load()
	if b.away.Load() || done != nil && !*done {
		return false, errBroken
	}
	swapped, err := b.Table.SwapSetting(ctx, name, before, after)
	if done != nil {
		return false, errBroken
	}
	return swapped, err
}

// open opens settings over a table that closeTable closes.
func open(t *testing.T, table settings.Table, closeTable func() error,
	o settings.Options) settingstest.Instance {
	t.Helper()
	b := &breaking{Table: table}
	k, err := settings.Open(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		k.Close()
		if err := closeTable(); err != nil {
			t.Error(err)
		}
	})
	return settingstest.Instance{Settings: k, End: end, Crash: end, FailWrites: b.fail.Store}
}

// TestSQLite runs the suite over a store in a file.
func TestSQLite(t *testing.T) {
	settingstest.Run(t, settingstest.Backend{
		NewPlace: func(t *testing.T) string { return filepath.Join(t.TempDir(), "store.db") },
		Open: func(t *testing.T, place string) settingstest.Instance {
			s, err := storesqlite.Open(t.Context(), place)
			if err != nil {
				t.Fatal(err)
			}
			return open(t, s, s.Close, settings.Options{})
		},
	})
}

// TestPostgres runs the suite over PostgreSQL, which several processes share.
func TestPostgres(t *testing.T) {
	cluster, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	settingstest.Run(t, settingstest.Backend{
		Shared: true,
		NewPlace: func(t *testing.T) string {
			name, err := cluster.NewDatabase(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := cluster.Recycle(context.Background(), name); err != nil {
					t.Error(err)
				}
			})
			return cluster.URL(name)
		},
		Open: func(t *testing.T, place string) settingstest.Instance {
			s, err := postgres.Open(t.Context(), postgres.Config{URL: place})
			if err != nil {
				t.Fatal(err)
			}
			return open(t, s, s.Close, settings.Options{Poll: 10 * time.Millisecond,
				Remembered: control.ModeNormal})
		},
	})
}

// TestAway: while the table is away, the keeper opens with the remembered mode, changes nothing and
// never waits. When the table is back, it applies the table's values and calls ModeChanged.
func TestAway(t *testing.T) {
	s, err := storesqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.SwapSetting(t.Context(), "mode", "", "buffer"); err != nil {
		t.Fatal(err)
	}
	b := &breaking{Table: s}
	b.away.Store(true)
	if _, err := settings.Open(t.Context(), b, settings.Options{}); !errors.Is(err, errBroken) {
		t.Errorf("without a remembered mode it opens: %v", err)
	}
	changed := make(chan control.Mode, 10)
	k, err := settings.Open(t.Context(), b, settings.Options{
		Poll: time.Millisecond, Remembered: control.ModeReadOnly,
		ModeChanged: func(m control.Mode) { changed <- m },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if err := k.SetMode(t.Context(), control.ModeNormal); !errors.Is(err, errBroken) ||
		k.Mode() != control.ModeReadOnly {
		t.Errorf("while it is away setting the mode got %v, and the mode is %s", err, k.Mode())
	}
	b.away.Store(false)
	if m := <-changed; m != control.ModeBuffer || k.Mode() != m {
		t.Errorf("when it is back the mode is %s, then %s", m, k.Mode())
	}
}

// TestAdopt: Adopt stores the settings of an earlier release if the table has nothing newer.
// Repeating it is harmless.
func TestAdopt(t *testing.T) {
	s, err := storesqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	k, err := settings.Open(t.Context(), s, settings.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	old := control.Canary{Version: 3, Percent: 50}
	for range 2 {
		if err := k.Adopt(t.Context(), control.ModeReadOnly, old); err != nil ||
			k.Mode() != control.ModeReadOnly || k.Canary() != old {
			t.Fatalf("taking over got %v, then %s and %v", err, k.Mode(), k.Canary())
		}
	}
	newer := control.Canary{Version: 4, Percent: 60}
	if err := errors.Join(k.SetMode(t.Context(), control.ModeNormal), k.SetCanary(t.Context(),
		newer)); err != nil {
		t.Fatal(err)
	}
	if err := k.Adopt(t.Context(), control.ModeReadOnly, old); err != nil ||
		k.Mode() != control.ModeNormal || k.Canary() != newer {
		t.Errorf("after later changes taking over got %v, then %s and %v", err, k.Mode(), k.Canary())
	}
}
