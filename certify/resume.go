package certify

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/evidence"
)

// killed is the Unread of a phase whose client was killed.
const killed = "the client was killed"

// Resume reads back and judges the folder of a certification whose client was killed. It uses only
// Target, API, Token, Rules, Dir, Key, Version, Credentials and Progress of the options; the rest
// is in the folder. It sends nothing, and there is no PASS.
func Resume(ctx context.Context, o Options) (v Verdict, err error) {
	c := &certification{Options: o, target: newTarget(orElse(o.API, o.Target), o.Token,
		readConnections)}
	defer c.target.close()
	if err := errors.Join(readJSON(c.file(startFile), &c.start), readJSON(c.file(profileFile),
		&c.Profile)); err != nil {
		return v, fmt.Errorf("%w: %w", ErrNotRun, err)
	}
	if _, err := os.Stat(c.file(evidence.ManifestFile)); err == nil {
		return v, fmt.Errorf("%w: %s is complete: hookgate evidence verify judges it again", ErrNotRun,
			c.Dir)
	}
	if c.log, err = os.OpenFile(c.file(logFile), os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return v, fmt.Errorf("%w: %w", ErrNotRun, err)
	}
	defer func() { err = errors.Join(err, c.log.Close()) }()
	c.say("resumed by client %s", c.Version)
	for _, name := range c.start.Phases {
		if err := c.resume(ctx, name); err != nil {
			return v, fmt.Errorf("phase %s: %w", name, err)
		}
	}
	return c.finish(ctx)
}

// resume reads one phase back, if that was not done.
func (c *certification) resume(ctx context.Context, name string) error {
	limits, err := c.Profile.limitsOf(name)
	if err != nil {
		return err
	}
	var run phaseRun
	if err := readJSON(c.file(name, phaseFile), &run); err != nil {
		return err
	}
	if run.Unread == "" {
		return nil
	}
	o := &observer{target: c.target, dir: c.file(name), prefix: run.Prefix,
		exclusive: c.Profile.Exclusive, tests: c.Profile.Source == hookgate.TestSource,
		started: run.Started, connections: readConnections}
	last, n, err := lastEnd(c.file(name, ledgerFile))
	switch {
	case err != nil:
		return err
	case n > 0:
		run.Ended = last
	}
	if run.Prefix == "" {
		if o.sent, err = sentIDs(c.file(name, ledgerFile)); err != nil {
			return err
		}
	}
	run.Unread = ""
	c.drain(ctx, name, o, &run, limits)
	return c.readBack(ctx, name, o, &run)
}
