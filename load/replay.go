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

// Config describes a replay. Target is required, and one of Input and Messages.
type Config struct {
	// Input has one event of the default source per line, of at most 16 MiB. If the context ends,
	// Replay may return while it is still inside Read; closing the input ends that. An input slower
	// than Rate makes its events late, and the summary shows that as lateness.
	Input io.Reader
	// Messages are sent instead of an input. Replay returns after it has left the sequence.
	Messages iter.Seq2[Message, error]
	// Target is the base URL of the gate. Events go to its path Path; empty means /webhooks.
	Target, Path string
	Credentials  Credentials
	// Rate is the number of events due per second; 0 sends as fast as the connections allow.
	Rate float64
	// Timed means that each message is due at its own time, and Rate is ignored.
	Timed bool
	// Concurrency is the number of connections; 0 means DefaultConcurrency.
	Concurrency int
	// Timeout bounds one request; 0 means DefaultTimeout.
	Timeout time.Duration
	Retry   Retry
	// Ledger receives an Attempt as a line of JSON for each attempt; nil for none. It is written
	// through a buffer that is flushed every half second and at the end.
	Ledger io.Writer
	// Answers keeps each answer in the ledger, as Attempt.Answer.
	Answers bool
	// ReadAhead is the greatest number of lines between the input and their final answer; 0 means
	// DefaultReadAhead. Together they have at most 64 MiB. If answers take so long that the bound
	// is reached, events are sent late, and the summary shows that.
	ReadAhead int
	// Progress, if set, gets the summary so far about twice a second, from one goroutine.
	Progress func(Summary)
	// Latencies, if set, receives the latency of each event when the replay ends, in microseconds,
	// as Summary.LatencyMS counts it.
	Latencies *hdrhistogram.Histogram
}

// ErrInterrupted is wrapped by the error of a replay whose context ended before its input.
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
		return nil, errors.New("an input of lines has no times: use messages")
	case math.IsNaN(c.Rate) || math.IsInf(c.Rate, 0) || c.Rate < 0:
		return nil, fmt.Errorf("rate %v is not 0 or a positive number of events per second", c.Rate)
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
		u.Path = "/" // otherwise the joined path would be relative
	}
	return u.JoinPath(c.Path), nil
}

// Replay sends the events of the input, and returns when each has its final answer: accepted,
// rejected, or given up after its retries. An ordering key never has two requests in flight: its
// next event waits for the final answer of the previous one. Other keys go on meanwhile.
//
// The summary is valid even with an error. The error wraps ErrInterrupted if ctx ended; the
// requests that were in flight are in the ledger with status 0. It is a *LineError if a line of the
// input is not an event; all lines before it were sent, and none after it. It is nil even if events
// were not accepted. Any other error means that the replay could not run, or that its ledger is
// incomplete.
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
		source.Go(func() { r.lines.readMessages(ctx, cfg.Messages, cfg.Credentials.signer()) })
	} else {
		// A read cannot be interrupted, so nothing waits for this one.
		go r.lines.read(ctx, cfg.Input, cfg.Credentials.signer())
	}
	others.Go(func() { r.watch(stop, cfg.Progress) })
	for range cfg.Concurrency {
		senders.Go(func() {
			s := newSender(target, cfg.Credentials, cfg.Timeout)
			s.epoch, s.keep = r.tally.start, cfg.Answers
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
		cfg.Latencies.Merge(r.tally.latency) // nothing is recorded any more
	}
	s := r.tally.summary(true)
	s.Unfinished = r.chains.unfinished()
	if whole && s.Unfinished == 0 {
		ctx = context.WithoutCancel(ctx) // it ended too late to matter
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
	// fail ends the run with its own reason.
	fail context.CancelCauseFunc
}

// pace releases each event when it is due. It reports whether that was the whole input, and the
// reason if it was not.
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
			case ev.follows:
				p.skip() // the sender finds out when it is due
			case timed:
				due, err = p.at(ctx, ev.at)
			default:
				due, err = p.next(ctx)
			}
			if err != nil {
				return false, nil // outcome returns the error of ctx
			}
			ev.due, before = due, due
			r.chains.add(ev)
		case <-ctx.Done():
			return false, nil
		}
	}
}

// send sends the events that are ready, until all are done or ctx ends.
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
				return // select chooses at random if both are ready
			}
			a, retryAfter := s.attempt(ctx, ev)
			r.finish(ctx, ev, &a, retryAfter)
		}
	}
}

// finish records an attempt. It then ends the event, or has it sent again after a pause.
func (r *replay) finish(ctx context.Context, ev *event, a *Attempt, retryAfter time.Duration) {
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
	case cutOff: // the event stays unfinished
	case again:
		// One goroutine for each: there are at most as many as events in the window.
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

// outcome completes the ledger, and returns the reason if the run is not complete.
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
