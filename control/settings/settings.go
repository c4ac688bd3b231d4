// Package settings keeps the mode of the gate and its canary in a table of the store, for all
// processes that share the store.
//
//	SetMode, SetCanary ─► compare and swap ─► table ─► read every Options.Poll ─► Mode, Canary
//
// Mode and Canary answer from memory and never wait. While the table cannot be read they return the
// values that were seen last.
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

// Table is where a store keeps settings. Both methods may be called concurrently.
type Table interface {
	// Settings returns all settings by name.
	Settings(ctx context.Context) (map[string]string, error)
	// SwapSetting sets a setting if its value is before; an empty before means that there is none.
	// false: it has another value, and nothing was changed. After an error the outcome is unknown.
	SwapSetting(ctx context.Context, name, before, after string) (swapped bool, err error)
}

// The names of the settings in the table.
const (
	modeName   = "mode"
	canaryName = "canary"
)

// Options of a Keeper.
type Options struct {
	// Poll is how often the table is read, for the changes that other processes make. 0: never, for
	// a table that only this process changes.
	Poll time.Duration
	// Timeout bounds one reading of the table; default 5 s.
	Timeout time.Duration
	// Remembered is the mode until the table has been read. If it is set, the table may be away when
	// the keeper opens. Without it, Open returns the error.
	Remembered control.Mode
	// ModeChanged is called with the mode whenever it changes, and with the first one that was read.
	ModeChanged func(control.Mode)
	// Logger logs when the table cannot be read, once for each reason; default none.
	Logger *slog.Logger
}

// Keeper implements control.Settings over a Table.
type Keeper struct {
	Options
	table  Table
	mode   atomic.Pointer[control.Mode]
	canary atomic.Pointer[control.Canary]
	// turn is held, as a channel of one, by the one call that reads or changes the table, so that
	// an older reading never replaces a newer one.
	turn chan struct{}
	// known says that the table has been read; guarded by turn.
	known bool

	closed context.CancelFunc
	done   <-chan struct{} // closed when closed was called
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
		o.Logger.Warn("the settings cannot be read yet; the mode is the one seen last", "mode", mode,
			"error", err)
	}
	if o.Poll > 0 {
		k.polls.Go(func() { k.poll(running) })
	}
	return k, nil
}

// Close ends the reading of the table. It always returns nil.
func (k *Keeper) Close() error {
	k.closed()
	k.polls.Wait()
	return nil
}

// poll reads the table again and again until ctx ends.
func (k *Keeper) poll(ctx context.Context) {
	tick := time.NewTicker(k.Poll)
	defer tick.Stop()
	told := ""
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
		case err == nil && told != "":
			told = ""
			k.Logger.Info("the settings can be read again")
		case err != nil && err.Error() != told:
			told = err.Error()
			k.Logger.Warn("the settings cannot be read; mode and canary stay as they are", "error", err)
		}
	}
}

// Mode returns the mode that was set last, as far as this process has seen it.
func (k *Keeper) Mode() control.Mode { return *k.mode.Load() }

// Canary returns the canary that was kept last, as far as this process has seen it.
func (k *Keeper) Canary() control.Canary { return *k.canary.Load() }

// SetMode implements control.Settings.
func (k *Keeper) SetMode(ctx context.Context, m control.Mode) error {
	err := k.change(ctx, modeName, func(string) (string, error) { return string(m), nil })
	if err != nil {
		return fmt.Errorf("keep mode %s: %w", m, err)
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
		return fmt.Errorf("keep canary of %d percent: %w", c.Percent, err)
	}
	return nil
}

// Adopt takes over mode and canary from where an earlier release kept them: the mode if none was
// ever set in the table, and the canary if it is newer than the one there.
func (k *Keeper) Adopt(ctx context.Context, m control.Mode, c control.Canary) error {
	err := k.change(ctx, modeName, func(text string) (string, error) {
		if text != "" {
			return text, nil
		}
		return string(m), nil
	})
	if err != nil {
		return fmt.Errorf("take over mode %s: %w", m, err)
	}
	if c.Version == 0 {
		return nil
	}
	if err := k.SetCanary(ctx, c); err != nil && !errors.Is(err, control.ErrCanaryChanged) {
		return fmt.Errorf("take over: %w", err)
	}
	return nil
}

// change gives a setting the value that to makes of the one in the table, and takes up what is
// there afterwards, also if to fails.
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
		return errors.Join(err, k.takeUp(values))
	}
}

// refresh reads the table and takes up what is there.
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
	return k.takeUp(values)
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

// takeUp lets the values of the table take effect. A value that cannot be read changes nothing.
func (k *Keeper) takeUp(values map[string]string) error {
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
