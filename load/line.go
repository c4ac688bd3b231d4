package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookgate/hookgate"
	"github.com/tidwall/gjson"
	"golang.org/x/sync/semaphore"
)

const (
	// maxLineBytes is the length of the longest line of input.
	maxLineBytes = 16 << 20
	// windowBytes bounds the input in memory. It must exceed maxLineBytes.
	windowBytes = 64 << 20
)

// event is one line of input, until its final answer.
type event struct {
	line        int
	messageID   string
	eventType   string
	orderingKey string
	sequence    int64
	body        string // as it is sent
	gzip        bool   // it is compressed
	sha256      string // of body, in hex
	signature   string // of the body; empty if it is not signed

	header    string // more headers, as they are written to the wire
	kind      string
	at        time.Duration // due so long after the start, if Config.Timed
	together  bool          // with the event before it
	follows   bool          // due when its key is free
	due       time.Time
	firstSent time.Time
	attempts  int
	held      bool  // its key was busy when it was due
	waited    bool  // no connection was free when its key was
	turn      *turn // guarded by chains.mu
	cost      int64 // its share of the window
}

// parseEvent parses a line. It keeps no reference to it.
func parseEvent(line []byte) (*event, error) {
	if !validJSON(line) {
		return nil, errors.New("is not valid JSON")
	}
	ev := &event{body: string(line), sequence: hookgate.NoSequence}
	root := gjson.Parse(ev.body)
	if !root.IsObject() {
		return nil, errors.New("is not a JSON object")
	}
	const messageID, eventType, orderingKey, number = 1, 2, 4, 8
	seen := 0
	var err error
	root.ForEach(func(name, value gjson.Result) bool {
		member := 0
		switch name.Str {
		case "messageId":
			member = messageID
			ev.messageID, err = text(value)
		case "eventType":
			member = eventType
			ev.eventType, err = text(value)
		case "orderingKey":
			member = orderingKey
			if value.Type != gjson.Null { // null means none, as for the gate
				ev.orderingKey, err = text(value)
			}
		case "sequence":
			member = number
			if value.Type != gjson.Null {
				ev.sequence, err = sequence(value)
			}
		default:
			return true
		}
		if err == nil && seen&member != 0 {
			err = errors.New("occurs twice")
		}
		seen |= member
		if err != nil {
			err = fmt.Errorf("%s %w", name.Str, err)
		}
		return err == nil
	})
	switch {
	case err != nil:
		return nil, err
	case ev.messageID == "":
		return nil, errors.New("messageId is missing or empty")
	case ev.eventType == "":
		return nil, errors.New("eventType is missing or empty")
	}
	if ev.orderingKey == "" {
		ev.orderingKey = ev.eventType // as the gate does, for the same order
	}
	ev.digest(line)
	return ev, nil
}

// digest sets the digest of the body.
func (ev *event) digest(body []byte) {
	sum := sha256.Sum256(body)
	ev.sha256 = hex.EncodeToString(sum[:])
}

// compress replaces the body by its compressed form; nil keeps it.
func (ev *event) compress(packed []byte) {
	if packed == nil {
		return
	}
	// Its texts are part of the body, which must not stay in memory with them.
	ev.messageID, ev.eventType = strings.Clone(ev.messageID), strings.Clone(ev.eventType)
	ev.orderingKey = strings.Clone(ev.orderingKey)
	ev.body, ev.gzip = string(packed), true
	ev.digest(packed)
}

// validJSON uses the check of gjson, which is faster than the standard library's. For many brackets
// it uses the standard library, which stops at a depth of 10,000, because gjson recurses.
func validJSON(line []byte) bool {
	if bytes.Count(line, []byte("["))+bytes.Count(line, []byte("{")) > 10_000 {
		return json.Valid(line)
	}
	return gjson.ValidBytes(line)
}

func text(v gjson.Result) (string, error) {
	if v.Type != gjson.String {
		return "", errors.New("is not a string")
	}
	if !utf8.ValidString(v.Str) {
		return "", errors.New("is not valid UTF-8") // it could not be in the ledger
	}
	return v.Str, nil
}

func sequence(v gjson.Result) (int64, error) {
	n, err := strconv.ParseUint(v.Raw, 10, 63)
	if err != nil {
		return 0, errors.New("is not an integer of 0 or more, written in digits")
	}
	return int64(n), nil
}

// lines reads the input ahead of the schedule, as far as the window allows.
type lines struct {
	events chan *event
	window *semaphore.Weighted
	// leastCost is what the shortest line costs of the window, so that the bound in bytes also
	// bounds the number of lines.
	leastCost int64
	// whole is true if the input was read to its end. Otherwise err is the reason, unless the
	// context ended. Both may be read once events is closed.
	whole bool
	err   error
}

func newLines(readAhead int) *lines {
	return &lines{
		events: make(chan *event, readAhead),
		window: semaphore.NewWeighted(windowBytes),
		// rounded up, because rounded down it would admit more lines
		leastCost: (windowBytes + int64(readAhead) - 1) / int64(readAhead),
	}
}

// read fills events until the input ends, a line cannot be used, or ctx ends.
func (l *lines) read(ctx context.Context, input io.Reader, sign func(body []byte) string) {
	defer close(l.events)
	scanner := bufio.NewScanner(input)
	scanner.Buffer(make([]byte, 64<<10), maxLineBytes+len("\r\n")+1)
	n := 0
	for scanner.Scan() {
		n++
		line := scanner.Bytes()
		if len(line) == 0 {
			continue
		}
		ev, err := parseEvent(line)
		if err != nil && scanner.Err() != nil {
			n-- // it is incomplete because the input failed
			break
		}
		if err != nil {
			l.err = &LineError{Line: n, Err: err}
			return
		}
		if !l.enqueue(ctx, ev, n, sign(line)) {
			return
		}
	}
	if err := scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
		l.err = &LineError{Line: n + 1, Err: fmt.Errorf("is longer than %d bytes", maxLineBytes)}
	} else if err != nil {
		l.err = fmt.Errorf("read input after line %d: %w", n, err)
	} else {
		l.whole = true
	}
}

// readMessages is read for an input of messages.
func (l *lines) readMessages(ctx context.Context, input iter.Seq2[Message, error],
	sign func(body []byte) string) {
	defer close(l.events)
	n := 0
	for m, err := range input {
		n++
		var ev *event
		if err == nil && len(m.Body) > maxLineBytes {
			err = fmt.Errorf("is longer than %d bytes", maxLineBytes)
		}
		if err == nil {
			ev, err = parseEvent(m.Body)
		}
		if err == nil {
			ev.header, err = encodeHeader(m.Header)
		}
		if err != nil {
			var line *LineError
			if !errors.As(err, &line) {
				err = &LineError{Line: n, Err: err}
			}
			l.err = err
			return
		}
		ev.kind, ev.at, ev.together = m.Kind, m.At, m.Together
		ev.follows = m.Follows
		sent := m.Body
		if m.Gzip != nil {
			ev.compress(m.Gzip)
			sent = m.Gzip
		}
		if !l.enqueue(ctx, ev, n, sign(sent)) {
			return
		}
	}
	l.whole = true
}

// enqueue adds an event when the window has room for it. It reports whether ctx allowed that.
func (l *lines) enqueue(ctx context.Context, ev *event, line int, signature string) bool {
	ev.line, ev.signature, ev.cost = line, signature, max(l.leastCost, int64(len(ev.body)))
	if l.window.Acquire(ctx, ev.cost) != nil {
		return false
	}
	l.events <- ev // never blocks: its capacity is that of the window
	return true
}

// release makes room for another line, when ev has its final answer.
func (l *lines) release(ev *event) { l.window.Release(ev.cost) }
