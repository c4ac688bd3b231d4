// Package settings implements control.Settings over a table: one in the store, or the settings of a
// queue in Redis. All processes of a gate share the table.
//
//	SetMode, SetCanary ─► compare and swap ─► table ─► read every Options.Poll ─► Mode, Canary
//
// Mode and Canary answer from memory and never wait. While the table cannot be read, they return
// the last known values.
package settings

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

// Table is where a store or a queue keeps settings. Both methods may be called concurrently.
type Table interface {
	// Settings returns all settings by name.
	Settings(ctx context.Context) (map[string]string, error)
	// SwapSetting sets a setting if its value is before; an empty before means that it has no value.
	// false: it has another value, and nothing changed. After an error the outcome is unknown.
	SwapSetting(ctx context.Context, name, before, after string) (swapped bool, err error)
}

// The names of the settings in the table.
const (
	modeName   = "mode"
	canaryName = "canary"
)

// Options of a Keeper.
type Options struct {
	// Poll is how often the keeper reads the changes of other processes. 0: never, for a table that
	// only this process changes.
	Poll time.Duration
	// Timeout bounds one read of the table; default 5 s.
	Timeout time.Duration
	// Remembered is the mode until the table was read. If it is set, the table may be away when the
	// keeper opens. If it is empty, Open then returns the error.
	Remembered control.Mode
	// ModeChanged is called with the first mode that was read, and at each change.
	ModeChanged func(control.Mode)
	// Logger logs each reason why the table cannot be read, once; default none.
	Logger *slog.Logger
}

// Keeper implements control.Settings over a Table.
type Keeper struct {
	Options
	table  Table
	mode   atomic.Pointer[control.Mode]
	canary atomic.Pointer[control.Canary]
	// turn is a mutex that respects a context. The call that reads or changes the table holds it, so
	// that an older value never replaces a newer one.
	turn chan struct{}
	// known reports whether the table was read; guarded by turn.
	known bool

	closed context.CancelFunc
	done   <-chan struct{} // closed by closed
	polls  sync.WaitGroup
}

var _ control.Settings = (*Keeper)(nil)

// Open reads the table and returns a keeper. The caller closes it before the table.
func Open(ctx context.Context, table Table, o Options) (*Keeper, error) {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{Options: o, table: table, turn: make(chan struct{}, 1)}
	mode := control.ModeNormal
	if o.Remembered != "" {
		mode = o.Remembered
	}
	k.mode.Store(&mode)
	k.canary.Store(&control.Canary{})
	running, closed := context.WithCancel(context.Background())
	k.closed, k.done = closed, running.Done()
	if err := k.refresh(ctx); err != nil {
		if o.Remembered == "" || ctx.Err() != nil {
			closed()
			return nil, err
		}
		o.Logger.Warn("cannot read the settings yet; using the last known mode", "mode", mode, "error",
			err)
	}
	if o.Poll > 0 {
		k.polls.Go(func() { k.poll(running) })
	}
	return k, nil
}

// Close implements control.Settings. It always returns nil.
func (k *Keeper) Close() error {
	k.closed()
	k.polls.Wait()
	return nil
}

// poll reads the table every Poll until ctx ends.
func (k *Keeper) poll(ctx context.Context) {
	tick := time.NewTicker(k.Poll)
	defer tick.Stop()
	logged := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := k.refresh(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && logged != "":
			logged = ""
			k.Logger.Info("the settings can be read again")
		case err != nil && err.Error() != logged:
			logged = err.Error()
			k.Logger.Warn("cannot read the settings; mode and canary stay as they are", "error", err)
		}
	}
}

// Mode implements control.Settings.
func (k *Keeper) Mode() control.Mode { return *k.mode.Load() }

// Canary implements control.Settings.
func (k *Keeper) Canary() control.Canary { return *k.canary.Load() }

// SetMode implements control.Settings.
func (k *Keeper) SetMode(ctx context.Context, m control.Mode) error {
	err := k.change(ctx, modeName, func(string) (string, error) { return string(m), nil })
	if err != nil {
		return fmt.Errorf("set mode %s: %w", m, err)
	}
	return nil
}

// SetCanary implements control.Settings.
func (k *Keeper) SetCanary(ctx context.Context, c control.Canary) error {
	err := k.change(ctx, canaryName, func(text string) (string, error) {
		kept, err := control.ParseCanary(text)
		switch {
		case err != nil:
			return "", err
		case kept.String() != c.String() && c.Version <= kept.Version:
			return "", control.ErrCanaryChanged
		}
		return c.String(), nil
	})
	if err != nil {
		return fmt.Errorf("set canary of %d percent: %w", c.Percent, err)
	}
	return nil
}

// Adopt stores the mode and the canary of an earlier release: the mode if the table has none, and
// the canary if it is newer than the one in the table.
func (k *Keeper) Adopt(ctx context.Context, m control.Mode, c control.Canary) error {
	err := k.change(ctx, modeName, func(text string) (string, error) {
		if text != "" {
			return text, nil
		}
		return string(m), nil
	})
	if err != nil {
		return fmt.Errorf("adopt mode %s: %w", m, err)
	}
	if c.Version == 0 {
		return nil
	}
	if err := k.SetCanary(ctx, c); err != nil && !errors.Is(err, control.ErrCanaryChanged) {
		return fmt.Errorf("adopt: %w", err)
	}
	return nil
}

// change replaces the value of a setting by the one that to returns for it. Then it applies the
// values in the table, even if to fails.
func (k *Keeper) change(ctx context.Context, name string, to func(before string) (string,
	error)) error {
	if err := k.enter(ctx); err != nil {
		return err
	}
	defer k.leave()
	for {
		values, err := k.table.Settings(ctx)
		if err != nil {
			return fmt.Errorf("read settings: %w", err)
		}
		before := values[name]
		after, err := to(before)
		if err == nil && after != before {
			swapped, err := k.table.SwapSetting(ctx, name, before, after)
			if err != nil {
				return err
			}
			if !swapped {
				continue // another process was faster
			}
			values[name] = after
		}
		return errors.Join(err, k.apply(values))
	}
}

// refresh reads the table and applies its values.
func (k *Keeper) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	if err := k.enter(ctx); err != nil {
		return err
	}
	defer k.leave()
	values, err := k.table.Settings(ctx)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	return k.apply(values)
}

func (k *Keeper) enter(ctx context.Context) error {
	select {
	case <-k.done:
		return hookgate.ErrClosed
	default:
	}
	select {
	case k.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *Keeper) leave() { <-k.turn }

// apply lets the values of the table take effect. A value that cannot be parsed changes nothing.
func (k *Keeper) apply(values map[string]string) error {
	mode := control.ModeNormal
	if text := values[modeName]; text != "" {
		var err error
		if mode, err = control.ParseMode(text); err != nil {
			return fmt.Errorf("read settings: %w", err)
		}
	}
	canary, err := control.ParseCanary(values[canaryName])
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	k.canary.Store(&canary)
	if before := *k.mode.Swap(&mode); (before != mode || !k.known) && k.ModeChanged != nil {
		k.ModeChanged(mode)
	}
	k.known = true
	return nil
}
