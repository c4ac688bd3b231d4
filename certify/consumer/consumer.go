// Package consumer is the application behind a gate, as certify plays it: it takes the events of
// one subscription, fails on purpose, and keeps a ledger of every attempt.
//
//	gate ──► Push: an HTTP server ──┐
//	                                ├──► Consumer: take, fail, hang, … ──► ledger: an Attempt a line
//	gate ◄── Pull: pull, ack, nack ─┘
//
// It imports no package of the server, so what it records does not depend on the server's code.
package consumer

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// The answers of a consumer to an attempt.
const (
	Took    = "took"    // 200, or an acknowledgement
	Failed  = "failed"  // 500, or a nack
	Hung    = "hung"    // no answer until the gate gave up, or until the lease ran out
	Reset   = "reset"   // the connection was reset; of a lease: a nack without a delay
	Slow    = "slow"    // taken after a pause
	Refused = "refused" // a status that the subscription does not retry, or a nack with dead
	Unready = "unready" // 503, as all others; or a nack
	Away    = "away"    // the consumer restarted before it answered
)

// Attempt is a line of the ledger: one request of the gate, or one event of a lease. The texts are
// as received. The lines are in the order in which the attempts ended.
type Attempt struct {
	// At is when the attempt arrived, or when the consumer came to an event of a lease. End is just
	// before the consumer answered, or when it saw the connection or the lease end. So a gate that
	// waits for the answer begins nothing before End.
	At  time.Time `json:"at"`
	End time.Time `json:"end"`
	Did string    `json:"did"`
	// Status is the status of the answer; 0 for none. Of a pull it is 200 for an acknowledgement and
	// 500 for a nack.
	Status int `json:"status"`
	// RetryAfter is the wait in seconds for which the answer asked: by Retry-After, or by the delay
	// of a nack.
	RetryAfter float64 `json:"retryAfter,omitempty"`
	// Cut is true if the gate may not have got the answer.
	Cut bool `json:"cut,omitempty"`
	// Lease is the lease of a pulled event.
	Lease string `json:"lease,omitempty"`

	WebhookID    string `json:"webhookId"`
	Subscription string `json:"subscription,omitempty"`
	EventID      string `json:"eventId"`
	Source       string `json:"source"`
	Type         string `json:"type"`
	MessageID    string `json:"messageId"`
	Key          string `json:"key"`
	ReceivedAt   string `json:"receivedAt"`
	Attempt      string `json:"attempt"`
	Redelivery   string `json:"redelivery"`
	ContentType  string `json:"contentType"`
	// ContentEncoding is empty if the gate names none.
	ContentEncoding string `json:"contentEncoding,omitempty"`
	// SHA256 is the digest of the body in hexadecimal, and Size its size in bytes.
	SHA256 string `json:"sha256"`
	Size   int    `json:"size"`
	// Timestamp is the time that the gate signed. Signature says whether the signature is Valid,
	// Wrong or Missing, and SenderSignature the same of the sender's own; empty if the consumer has
	// no secret to check it with.
	Timestamp       string `json:"timestamp,omitempty"`
	Signature       string `json:"signature,omitempty"`
	SenderSignature string `json:"senderSignature,omitempty"`
}

// Settled reports whether the consumer took the event and the gate knows.
func (a *Attempt) Settled() bool { return a.Took() && !a.Cut }

// Took reports whether the consumer took the event.
func (a *Attempt) Took() bool { return a.Status >= 200 && a.Status < 300 }

// Faults are shares of attempts that fail on purpose, in percent.
type Faults struct {
	Errors, Hangs, Resets, Slow float64
	// Pause is the pause of a slow answer.
	Pause time.Duration
}

// Consumer decides what to do with each attempt and keeps the ledger. Its methods may be called
// concurrently.
type Consumer struct {
	// ours reports whether a message id belongs to the run. Other events are taken.
	ours func(messageID string) bool

	mu      sync.Mutex // guards the fields below
	file    *os.File
	out     *bufio.Writer
	err     error
	rng     *rand.Rand
	faults  Faults
	choose  []func(a *Attempt) bool
	failing map[string]bool   // keys
	refused map[string]int    // status by message id
	fails   int               // attempts of these keys
	unready *unready          // nil: ready
	taken   map[string]string // key by message id
	away    chan struct{}     // closed while the consumer is away
}

// New returns a consumer that takes everything and writes a ledger to a new file.
func New(ledger string, seed uint64, ours func(messageID string) bool) (*Consumer, error) {
	f, err := os.OpenFile(ledger, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &Consumer{ours: ours, file: f, out: bufio.NewWriterSize(f, 256<<10),
		rng: rand.New(rand.NewPCG(seed, 4)), failing: map[string]bool{}, refused: map[string]int{},
		taken: map[string]string{}, away: make(chan struct{})}, nil
}

// Close completes the ledger, and returns its first error.
func (c *Consumer) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.err, c.out.Flush(), c.file.Close())
}

// SetFaults sets the faults of the next attempts.
func (c *Consumer) SetFaults(f Faults) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = f
}

// FailNextKey fails all attempts of the next attempt's key until Heal. It returns at once, and calls
// chosen with the key later.
func (c *Consumer) FailNextKey(chosen func(key string)) {
	c.next(func(a *Attempt) { c.failing[a.Key] = true; chosen(a.Key) })
}

// FailedKey is the number of attempts that failed because of FailNextKey.
func (c *Consumer) FailedKey() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fails
}

// RefuseNext answers the event of the next attempt with a status until Heal. It skips keys that
// fail, and calls chosen with the attempt.
func (c *Consumer) RefuseNext(status int, chosen func(a Attempt)) {
	c.next(func(a *Attempt) { c.refused[a.MessageID] = status; chosen(*a) })
}

// next calls f with the next attempt of a key that does not fail, holding the mutex.
func (c *Consumer) next(f func(a *Attempt)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.choose = append(c.choose, func(a *Attempt) bool {
		if len(a.Key) < 2 || a.Key[:2] != "k:" || c.failing[a.Key] {
			return false
		}
		f(a)
		return true
	})
}

// unready is a time in which every attempt is answered 503.
type unready struct {
	retryAfter time.Duration
	answers    int
}

// SetUnready answers 503 to all attempts, and lets every second answer ask for a wait.
func (c *Consumer) SetUnready(retryAfter time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unready = &unready{retryAfter: retryAfter}
}

// SetReady ends SetUnready.
func (c *Consumer) SetReady() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unready = nil
}

// Unready is the number of answers since SetUnready.
func (c *Consumer) Unready() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unready == nil {
		return 0
	}
	return c.unready.answers
}

// Heal ends all faults.
func (c *Consumer) Heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults, c.choose = Faults{}, nil
	clear(c.failing)
	clear(c.refused)
}

// Taken is the number of different events of the run that were taken.
func (c *Consumer) Taken() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.taken)
}

// HasTaken reports whether the event was taken.
func (c *Consumer) HasTaken(messageID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.taken[messageID]
	return ok
}

// TakenKeys returns the events of the run that were taken: the key by message id.
func (c *Consumer) TakenKeys() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.taken)
}

// decide says what to do with an attempt, with the status to answer and a pause before.
func (c *Consumer) decide(a *Attempt) (did string, status int, pause time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.away:
		return Away, 0, 0
	default:
	}
	if !c.ours(a.MessageID) {
		return Took, 200, 0
	}
	if u := c.unready; u != nil {
		if u.answers++; u.answers%2 == 0 {
			a.RetryAfter = u.retryAfter.Seconds()
		}
		return Unready, 503, 0
	}
	if len(c.choose) > 0 && c.choose[0](a) {
		c.choose = c.choose[1:]
	}
	if status, ok := c.refused[a.MessageID]; ok {
		return Refused, status, 0
	}
	if c.failing[a.Key] {
		c.fails++
		return Failed, 500, 0
	}
	f, draw := &c.faults, 100*c.rng.Float64()
	for _, fault := range []struct {
		share  float64
		did    string
		status int
		pause  time.Duration
	}{{f.Errors, Failed, 500, 0}, {f.Hangs, Hung, 0, 0}, {f.Resets, Reset, 0, 0},
		{f.Slow, Slow, 200, f.Pause}} {
		if draw < fault.share {
			return fault.did, fault.status, fault.pause
		}
		draw -= fault.share
	}
	return Took, 200, 0
}

// record adds an attempt to the ledger.
func (c *Consumer) record(a *Attempt) {
	line, err := json.Marshal(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.Settled() && c.ours(a.MessageID) {
		c.taken[a.MessageID] = a.Key
	}
	if err == nil {
		c.out.Write(line) // the error stays in out
		err = c.out.WriteByte('\n')
	}
	c.err = errors.Join(c.err, err)
}

// leaves is closed when the consumer goes away.
func (c *Consumer) leaves() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.away
}

// leave makes the consumer go away: what it works on is abandoned.
func (c *Consumer) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.away:
	default:
		close(c.away)
	}
}

// comeBack ends leave.
func (c *Consumer) comeBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = make(chan struct{})
}

// Read yields the attempts of a ledger to f. It ends at an incomplete last line.
func Read(r io.Reader, f func(Attempt) error) error {
	in := json.NewDecoder(bufio.NewReaderSize(r, 256<<10))
	for {
		var a Attempt
		err := in.Decode(&a)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
		if err := f(a); err != nil {
			return err
		}
	}
}
