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
	"time"
	"unicode/utf8"

	"github.com/hookgate/hookgate"
	"github.com/tidwall/gjson"
	"golang.org/x/sync/semaphore"
)

const (
	// maxLineBytes is the longest line of input that is taken.
	maxLineBytes = 16 << 20
	// windowBytes bounds the input that is held at one time. It must exceed maxLineBytes.
	windowBytes = 64 << 20
)

// event is one line of input on its way to its final answer.
type event struct {
	line        int
	messageID   string
	eventType   string
	orderingKey string
	sequence    int64
	body        string
	sha256      string // hex
	signature   string // of the body; empty if it is not signed

	header    string // beside what the sender needs, as it goes over the wire
	kind      string
	at        time.Duration // when it is due after the start, if Config.Timed
	together  bool          // with the event before it
	due       time.Time
	firstSent time.Time
	attempts  int
	held      bool  // it had to wait for its key
	waited    bool  // there was no connection for it when it was its turn
	turn      *turn // guarded by chains.mu
	cost      int64 // what it holds of the window
}

// parseEvent reads one line. It keeps no reference to it.
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
			if value.Type != gjson.Null { // null means none, as it does to the gate
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
		ev.orderingKey = ev.eventType // as the gate does, so that both mean the same order
	}
	sum := sha256.Sum256(line)
	ev.sha256 = hex.EncodeToString(sum[:])
	return ev, nil
}

// validJSON is gjson's check, which is the faster, unless there are brackets enough for its
// recursion to grow the stack; the standard library's stops at a depth of 10,000.
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
		return "", errors.New("is not valid UTF-8") // the ledger could not name it
	}
	return v.Str, nil
}

func sequence(v gjson.Result) (int64, error) {
	n, err := strconv.ParseUint(v.Raw, 10, 63)
	if err != nil {
		return 0, errors.New("is not an integer of 0 or more in digits alone")
	}
	return int64(n), nil
}

// lines reads NDJSON ahead of the schedule, as far as the window allows.
type lines struct {
	events chan *event
	window *semaphore.Weighted
	// leastCost is what the shortest line takes of the window, so that one bound in bytes
	// bounds the number of lines too.
	leastCost int64
	// whole says that the input was read to its end; if it was not, err says why, unless the
	// context ended. Both may be read once events is closed.
	whole bool
	err   error
}

func newLines(readAhead int) *lines {
	return &lines{
		events: make(chan *event, readAhead),
		window: semaphore.NewWeighted(windowBytes),
		// rounded down it would let in more
		leastCost: (windowBytes + int64(readAhead) - 1) / int64(readAhead),
	}
}

// read fills events until the input ends, a line cannot be used, or ctx is done.
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
			n-- // it was cut short because the input cannot be read on
			break
		}
		if err != nil {
			l.err = &LineError{Line: n, Err: err}
			return
		}
		if !l.put(ctx, ev, n, sign(line)) {
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

// take is read for an input of messages.
func (l *lines) take(ctx context.Context, input iter.Seq2[Message, error],
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
		if !l.put(ctx, ev, n, sign(m.Body)) {
			return
		}
	}
	l.whole = true
}

// put adds an event when the window has room for it. It reports whether ctx allowed it.
func (l *lines) put(ctx context.Context, ev *event, line int, signature string) bool {
	ev.line, ev.signature, ev.cost = line, signature, max(l.leastCost, int64(len(ev.body)))
	if l.window.Acquire(ctx, ev.cost) != nil {
		return false
	}
	l.events <- ev // never blocks: it holds as many as the window
	return true
}

// release lets another line in, once ev has its final answer.
func (l *lines) release(ev *event) { l.window.Release(ev.cost) }
