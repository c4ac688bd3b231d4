package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/url"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Defaults of a Config.
const (
	DefaultConcurrency = 50
	DefaultTimeout     = 10 * time.Second
	DefaultReadAhead   = 8192
)

// Config describes a replay. Target and one of Input and Messages are required.
type Config struct {
	// Input holds one event of the default source a line, of at most 16 MiB. Replay may still be
	// inside Read when it returns because its context ended; closing the input frees it then. An input
	// slower than Rate makes its events late, which the figures show like any other lateness.
	Input io.Reader
	// Messages are sent instead of an input. Replay returns only after it has left the sequence.
	Messages iter.Seq2[Message, error]
	// Target is the base URL of the gate; events go to its path Path, by default /webhooks.
	Target, Path string
	Credentials  Credentials
	// Rate is the number of events due a second; 0 sends as fast as the connections allow.
	Rate float64
	// Timed says that each message is due at its own time, whatever Rate is.
	Timed bool
	// Concurrency is the number of connections; 0 means DefaultConcurrency.
	Concurrency int
	// Timeout bounds one request; 0 means DefaultTimeout.
	Timeout time.Duration
	Retry   Retry
	// Ledger receives a line of JSON for each attempt, as Attempt describes; nil for none. It
	// is written through a buffer that is flushed every half second and at the end.
	Ledger io.Writer
	// ReadAhead bounds how many lines are held between the input and their final answer; 0 means
	// DefaultReadAhead. They are also held to 64 MiB in all. Where an answer takes so long that the
	// bound is reached, events are sent late, and are late in the figures.
	ReadAhead int
	// Progress, if set, is called about twice a second, from one goroutine, with the summary so far.
	Progress func(Summary)
	// Latencies, if set, is added the latency of each event when the replay ends, as Summary.LatencyMS
	// counts it, in microseconds.
	Latencies *hdrhistogram.Histogram
}

// ErrInterrupted is wrapped by the error of a replay whose context ended before its input did.
var ErrInterrupted = errors.New("interrupted")

// prepare replaces zero fields and returns the URL to send to.
func (c *Config) prepare() (*url.URL, error) {
	if c.Concurrency == 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.ReadAhead == 0 {
		c.ReadAhead = DefaultReadAhead
	}
	if c.Path == "" {
		c.Path = "/webhooks"
	}
	c.Retry = c.Retry.withDefaults()
	u, err := url.Parse(c.Target)
	switch {
	case err != nil:
		return nil, fmt.Errorf("target: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" ||
		u.Fragment != "" || u.User != nil:
		return nil, fmt.Errorf("target %q is not a base URL such as http://127.0.0.1:8080", u.Redacted())
	case c.Input == nil && c.Messages == nil:
		return nil, errors.New("no input")
	case c.Input != nil && c.Messages != nil:
		return nil, errors.New("both an input and messages")
	case c.Timed && c.Messages == nil:
		return nil, errors.New("an input of lines has no times")
	case math.IsNaN(c.Rate) || math.IsInf(c.Rate, 0) || c.Rate < 0:
		return nil, fmt.Errorf("rate %v is not 0 or a positive number of events a second", c.Rate)
	case c.Concurrency < 0 || c.ReadAhead < 0 || c.Timeout < 0:
		return nil, errors.New("concurrency, read-ahead and time-out must be positive")
	case c.Retry.Attempts < 0 || c.Retry.Time < 0 || c.Retry.Base < 0 || c.Retry.Max < 0 ||
		c.Retry.MaxRetryAfter < 0:
		return nil, errors.New("retry settings must not be negative")
	}
	if err := c.Credentials.check(); err != nil {
		return nil, err
	}
	if u.Path == "" {
		u.Path = "/" // or the joined path would be relative
	}
	return u.JoinPath(c.Path), nil
}

// Replay sends the events of the input and returns when each has its final answer: accepted,
// refused, or given up after its retries. An ordering key never has two requests in flight, and the
// next of a key waits for the final answer of the one before; other keys pass meanwhile.
//
// The summary is meaningful with an error too. The error wraps ErrInterrupted when ctx ended:
// requests then in flight are in the ledger with status 0. It is a *LineError when the input has a
// line that is not an event: every line before it was replayed, none from it on. Events that were
// not accepted are no error. Any other error means that the replay could not run or that its ledger
// is incomplete.
func Replay(ctx context.Context, cfg Config) (Summary, error) {
	target, err := cfg.prepare()
	if err != nil {
		return Summary{}, fmt.Errorf("replay: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &replay{
		retry:  cfg.Retry,
		lines:  newLines(cfg.ReadAhead),
		chains: newChains(cfg.ReadAhead),
		tally:  newTally(),
		fail:   cancel,
	}
	if cfg.Ledger != nil {
		r.ledger = newLedger(cfg.Ledger)
	}

	stop := make(chan struct{})
	var senders, others, source sync.WaitGroup
	if cfg.Messages != nil {
		source.Go(func() { r.lines.take(ctx, cfg.Messages, cfg.Credentials.signer()) })
	} else {
		// A read cannot be interrupted, so that nothing waits for this one.
		go r.lines.read(ctx, cfg.Input, cfg.Credentials.signer())
	}
	others.Go(func() { r.watch(stop, cfg.Progress) })
	for range cfg.Concurrency {
		senders.Go(func() {
			s := newSender(target, cfg.Credentials, cfg.Timeout)
			s.epoch = r.tally.start
			r.send(ctx, s)
		})
	}
	whole, inputErr := r.pace(ctx, pacer{rate: cfg.Rate, nap: nap}, cfg.Timed)
	senders.Wait()
	r.waiting.Wait()
	close(stop)
	others.Wait()
	cancel(nil)
	source.Wait()

	if cfg.Latencies != nil {
		cfg.Latencies.Merge(r.tally.latency) // nobody records any more
	}
	s := r.tally.summary(true)
	s.Unfinished = r.chains.unfinished()
	if whole && s.Unfinished == 0 {
		ctx = context.WithoutCancel(ctx) // whatever ended it came too late to matter
	}
	return s, r.outcome(ctx, inputErr)
}

// replay is one run.
type replay struct {
	retry   Retry
	lines   *lines
	chains  *chains
	ledger  *ledger // nil for none
	tally   *tally
	waiting sync.WaitGroup // events in back-off
	// fail ends the run for a reason of its own.
	fail context.CancelCauseFunc
}

// pace hands each event over when it is due. It reports whether that was the whole input, and what
// was wrong with the input if it was not.
func (r *replay) pace(ctx context.Context, p pacer, timed bool) (whole bool, err error) {
	defer r.chains.end()
	var before time.Time
	for {
		select {
		case ev, ok := <-r.lines.events:
			if !ok {
				return r.lines.whole, r.lines.err
			}
			var due time.Time
			switch {
			case ev.together:
				due = before
				p.skip()
			case timed:
				due, err = p.at(ctx, ev.at)
			default:
				due, err = p.next(ctx)
			}
			if err != nil {
				return false, nil // outcome tells of ctx
			}
			ev.due, before = due, due
			r.chains.add(ev)
		case <-ctx.Done():
			return false, nil
		}
	}
}

// send takes what is ready until everything is done or ctx is.
func (r *replay) send(ctx context.Context, s *sender) {
	defer s.close()
	for {
		r.chains.idle.Add(1)
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-r.chains.ready:
			r.chains.idle.Add(-1)
			if !ok {
				return
			}
			if ctx.Err() != nil {
				return // select chooses at random when both are there
			}
			a, retryAfter := s.attempt(ctx, ev)
			r.settle(ctx, ev, &a, retryAfter)
		}
	}
}

// settle records an attempt, and either lets go of the event or has it sent again after a pause.
func (r *replay) settle(ctx context.Context, ev *event, a *Attempt, retryAfter time.Duration) {
	wait, again := time.Duration(0), false
	if retryable(a.Status) {
		wait, again = r.retry.delay(ev.attempts, time.Since(ev.firstSent), retryAfter)
	}
	cutOff := a.Status == 0 && ctx.Err() != nil
	a.CutOff = cutOff
	if r.ledger != nil {
		if err := r.ledger.write(a); err != nil {
			r.fail(err)
		}
	}
	r.tally.attempt(ev, a, !again && !cutOff)
	switch {
	case cutOff: // it stays unfinished
	case again:
		// A goroutine each: there are at most as many as the window holds events.
		r.waiting.Go(func() {
			if pause(ctx, wait) {
				r.chains.again(ev)
			}
		})
	default:
		r.chains.done(ev)
		r.lines.release(ev)
	}
}

// watch flushes the ledger and reports progress until stop is closed.
func (r *replay) watch(stop <-chan struct{}, progress func(Summary)) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if r.ledger != nil {
			if err := r.ledger.flush(); err != nil {
				r.fail(err)
			}
		}
		if progress != nil {
			progress(r.tally.summary(false))
		}
	}
}

// outcome completes the ledger and says what kept the run from being whole.
func (r *replay) outcome(ctx context.Context, inputErr error) error {
	var flushErr error
	if r.ledger != nil {
		flushErr = r.ledger.flush()
	}
	switch {
	case flushErr != nil:
		return fmt.Errorf("replay: %w", flushErr)
	case inputErr != nil:
		return fmt.Errorf("replay: %w", inputErr)
	case ctx.Err() == nil:
		return nil
	case errors.Is(context.Cause(ctx), ctx.Err()):
		return fmt.Errorf("replay: %w", ErrInterrupted)
	default:
		return fmt.Errorf("replay: %w: %w", ErrInterrupted, context.Cause(ctx))
	}
}
