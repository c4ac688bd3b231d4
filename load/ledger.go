package load

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"
)

// noteDuplicate is the note of the answer to an event that the gate already had.
const noteDuplicate = "duplicate_detected"

var errNotAnAttempt = errors.New("is not an attempt: line and attempt count from 1")

// Attempt is one line of a ledger: one request and its outcome. The lines are in the order in which
// the attempts ended.
type Attempt struct {
	// Line is the line of the input, from 1.
	Line        int    `json:"line"`
	MessageID   string `json:"messageId"`
	EventType   string `json:"eventType"`
	OrderingKey string `json:"orderingKey"`
	// Sequence is the number of the sender, or hookgate.NoSequence.
	Sequence int64 `json:"sequence"`
	// SHA256 is the digest of the body in hexadecimal, as it was sent.
	SHA256 string `json:"sha256"`
	// Gzip is true if the body was sent compressed.
	Gzip bool `json:"gzip,omitempty"`
	// Kind is the Kind of the Message.
	Kind string `json:"kind,omitempty"`
	// Attempt counts from 1 for each line.
	Attempt int `json:"attempt"`
	// Due is when the schedule wanted the event to be sent; it is the same for all attempts of a
	// line. Without a schedule it is when a connection was free.
	Due time.Time `json:"due"`
	// Sent is when this attempt began to be written to the connection.
	Sent time.Time `json:"sent"`
	// Held is true if at Due the key, or every connection, was busy with requests that had no
	// answer. The time between Due and Sent is then not a lag of the sender.
	Held bool `json:"held,omitempty"`
	// LatencyUS is the time from Due to the end of this attempt, in microseconds.
	LatencyUS int64 `json:"latencyUs"`
	// Status is the HTTP status, or 0 without an answer. It is then unknown whether the gate took
	// the event.
	Status int `json:"status"`
	// CutOff is true if there is no answer because the replay was interrupted.
	CutOff bool `json:"cutOff,omitempty"`
	// Error is the reason why the event was not accepted, or was not answered.
	Error string `json:"error,omitempty"`
	// RequestID is the id that the gate gave this attempt.
	RequestID string `json:"requestId,omitempty"`
	// Note is the note in the answer.
	Note string `json:"note,omitempty"`
	// FirstRequestID is the request that brought the event first; only for a duplicate.
	FirstRequestID string `json:"firstRequestId,omitempty"`
	// Answer is the answer as it was received, if Config.Answers is set and there was one.
	Answer *Answer `json:"answer,omitempty"`
}

// Answer is the part of an answer that the contract of a gate is about.
type Answer struct {
	// Type is the Content-Type, RequestID the X-Request-Id, RetryAfter the Retry-After, and Date the
	// Date of the answer; each is empty if it was not sent.
	Type       string `json:"type,omitempty"`
	RequestID  string `json:"requestId,omitempty"`
	RetryAfter string `json:"retryAfter,omitempty"`
	Date       string `json:"date,omitempty"`
	// Body is the beginning of the body, at most 4 KiB. The ledger has U+FFFD in place of bytes that
	// are not UTF-8.
	Body string `json:"body"`
}

// maxAnswerBody bounds Answer.Body.
const maxAnswerBody = 4 << 10

// Accepted reports whether the gate acknowledged the event.
func (a Attempt) Accepted() bool { return a.Status >= 200 && a.Status < 300 }

// Duplicate reports whether the gate answered that it already had the event.
func (a Attempt) Duplicate() bool { return a.Accepted() && a.Note == noteDuplicate }

// ReadLedger yields the attempts of a ledger and reads one line at a time. A line that cannot be
// used is a *LineError, and the last. The error wraps io.ErrUnexpectedEOF if the last line is
// incomplete, as after the death of the writer.
func ReadLedger(r io.Reader) iter.Seq2[Attempt, error] {
	return func(yield func(Attempt, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		for n := 1; ; n++ {
			line, err := in.ReadBytes('\n')
			if err == io.EOF && len(line) == 0 {
				return
			}
			cut := err == io.EOF
			var a Attempt
			if err == nil || cut {
				err = json.Unmarshal(line, &a)
			}
			if err == nil && (a.Line < 1 || a.Attempt < 1) {
				err = errNotAnAttempt
			}
			if err != nil {
				if cut {
					err = io.ErrUnexpectedEOF
				}
				yield(Attempt{}, &LineError{Line: n, Err: err})
				return
			}
			if !yield(a, nil) {
				return
			}
		}
	}
}

// ledger writes attempts through a buffer. Its methods may be called concurrently.
type ledger struct {
	mu  sync.Mutex // keeps lines whole
	out *bufio.Writer
}

func newLedger(w io.Writer) *ledger { return &ledger{out: bufio.NewWriterSize(w, 256<<10)} }

// write adds a line. After an error the ledger is incomplete.
func (l *ledger) write(a *Attempt) error {
	line, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode ledger line: %w", err)
	}
	line = append(line, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.out.Write(line); err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	return nil
}

// flush writes the buffer to the underlying writer.
func (l *ledger) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.out.Flush(); err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	return nil
}
