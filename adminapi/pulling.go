package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/deliver/pull"
)

// Puller hands the events of pull subscriptions to clients. *pull.Server is one; it says what the
// methods do.
type Puller interface {
	Pull(ctx context.Context, name string, r pull.Request) (*pull.Batch, error)
	Ack(ctx context.Context, name, lease string, ids []int64, upTo int64) error
	Nack(ctx context.Context, name, lease string, ids []int64, n pull.Nack) error
	Extend(ctx context.Context, name, lease string, d time.Duration) (until time.Time, err error)
	Revoke(ctx context.Context, name string) error
}

const (
	// maxPullBody is the largest body of the calls below, in bytes. It has room for pull.MaxEvents
	// ids.
	maxPullBody = 64 << 10
	// maxNackReason is the longest reason of a nack, in bytes.
	maxNackReason = 4 << 10
	// leastLease is the shortest time of a lease.
	leastLease = time.Second
)

// eventID is an event id in a body: a number, or its text.
type eventID int64

// UnmarshalJSON implements json.Unmarshaler.
func (id *eventID) UnmarshalJSON(text []byte) error {
	digits := string(text)
	if len(digits) > 2 && digits[0] == '"' {
		digits = strings.Trim(digits, `"`)
	}
	n, err := parseEventID(digits)
	*id = eventID(n)
	return err
}

// leaseCall is the body of an ack or a nack.
type leaseCall struct {
	lease string
	ids   []int64
	upTo  int64
	nack  pull.Nack
}

// parsePull reads the body of a pull. The error of this and the next functions is for the caller.
func parsePull(body []byte) (r pull.Request, err error) {
	members, err := parseObject(body, "max", "maxBytes", "wait", "lease")
	if err != nil {
		return r, err
	}
	return r, errors.Join(
		readCount(members, "max", pull.MaxEvents, &r.Max),
		readCount(members, "maxBytes", pull.MaxBytes, &r.MaxBytes),
		readSpan(members, "wait", 0, pull.MaxWait, &r.Wait),
		readSpan(members, "lease", leastLease, pull.MaxLease, &r.Lease))
}

func parseAck(body []byte) (a leaseCall, err error) {
	members, err := parseObject(body, "lease", "ids", "upTo")
	if err != nil {
		return a, err
	}
	var upTo eventID
	err = errors.Join(a.readLease(members),
		readMember(members, "upTo", "the id of an event", &upTo))
	a.upTo = int64(upTo)
	if _, bounded := members["upTo"]; err == nil && bounded == (len(a.ids) > 0) {
		err = errors.New("body must have either ids or upTo")
	}
	return a, err
}

func parseNack(body []byte) (a leaseCall, err error) {
	members, err := parseObject(body, "lease", "ids", "delay", "reason", "dead")
	if err != nil {
		return a, err
	}
	var delay time.Duration
	err = errors.Join(a.readLease(members),
		readSpan(members, "delay", 0, pull.MaxDelay, &delay),
		readMember(members, "reason", "a text", &a.nack.Reason),
		readMember(members, "dead", "true or false", &a.nack.Dead))
	if _, set := members["delay"]; set {
		a.nack.Delay = &delay
	}
	switch {
	case err != nil:
	case len(a.ids) == 0:
		err = errors.New("body must have ids, a list of event ids")
	case len(a.nack.Reason) > maxNackReason:
		err = fmt.Errorf("member reason must have at most %d bytes", maxNackReason)
	case a.nack.Dead && a.nack.Delay != nil:
		err = errors.New("member delay has no meaning with dead: a dead letter is not tried again")
	}
	return a, err
}

// extension is the body of an extend.
type extension struct {
	lease  string
	length time.Duration // from now on
}

func parseExtend(body []byte) (e extension, err error) {
	var a leaseCall
	members, err := parseObject(body, "lease", "for")
	if err == nil {
		err = errors.Join(a.readLease(members),
			readSpan(members, "for", leastLease, pull.MaxLease, &e.length))
	}
	if err == nil && e.length == 0 {
		err = errors.New(`member for is missing: say how long from now on, such as "60s"`)
	}
	e.lease = a.lease
	return e, err
}

// readLease reads the members lease and ids, and sorts the ids.
func (a *leaseCall) readLease(members map[string]json.RawMessage) error {
	var ids []eventID
	err := errors.Join(readMember(members, "lease", "the lease of a pull", &a.lease),
		readMember(members, "ids", "a list of event ids", &ids))
	switch {
	case err != nil:
		return err
	case a.lease == "":
		return errors.New("member lease is missing: send the lease of the pull")
	case len(ids) > pull.MaxEvents:
		return fmt.Errorf("member ids has more than %d ids", pull.MaxEvents)
	}
	for _, id := range ids {
		a.ids = append(a.ids, int64(id))
	}
	slices.Sort(a.ids)
	a.ids = slices.Compact(a.ids)
	return nil
}

// readCount reads a number from 1 to most if the member is present.
func readCount(members map[string]json.RawMessage, name string, most int, to *int) error {
	want := fmt.Sprintf("a number from 1 to %d", most)
	err := readMember(members, name, want, to)
	if _, ok := members[name]; err == nil && ok && (*to < 1 || *to > most) {
		err = fmt.Errorf("member %s must be %s", name, want)
	}
	return err
}

// readSpan reads a duration from least to most if the member is present.
func readSpan(members map[string]json.RawMessage, name string, least, most time.Duration,
	to *time.Duration) error {
	var d api.Duration
	want := fmt.Sprintf(`a duration such as "30s", from %v to %v`, least, most)
	err := readMember(members, name, want, &d)
	*to = time.Duration(d)
	if _, ok := members[name]; err == nil && ok && (*to < least || *to > most) {
		err = fmt.Errorf("member %s must be %s", name, want)
	}
	return err
}

// pullBody reads the body of a call with parse. If ok is false, the call is answered.
func pullBody[T any](c *call, parse func([]byte) (T, error)) (v T, ok bool) {
	body, err := c.bodyUpTo(maxPullBody)
	if err == nil {
		v, err = parse(body)
	}
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
	}
	return v, err == nil
}

// pullFailed answers an error of a Puller.
func (c *call) pullFailed(doing string, err error) {
	name := c.parameter("name")
	var wrong *pull.AckError
	switch {
	case errors.Is(err, hookgate.ErrNotFound):
		c.noSubscription(name)
	case errors.Is(err, pull.ErrNotPull), errors.Is(err, hookgate.ErrLeased):
		c.fail(http.StatusConflict, fmt.Sprintf("the gate sends the events of subscription %s to a"+
			" consumer: only a subscription with pull can be pulled", printable(name)))
	case errors.Is(err, pull.ErrEnded):
		c.fail(http.StatusConflict, pull.ErrEnded.Error())
	case errors.As(err, &wrong):
		c.fail(http.StatusBadRequest, wrong.Error())
	default:
		c.unavailable(doing, err)
	}
}

// waiting returns a context that also ends when the API stops. The connection gets time to wait and
// then to write.
func (c *call) waiting(d time.Duration) (context.Context, context.CancelFunc) {
	control := http.NewResponseController(c)
	// After the time to read a request, its context would end.
	control.SetReadDeadline(time.Time{})
	control.SetWriteDeadline(time.Now().Add(d + c.server.config.WriteTimeout))
	ctx, cancel := context.WithCancel(c.request.Context())
	stop := context.AfterFunc(c.server.ending, cancel)
	return ctx, func() { stop(); cancel() }
}

// pullEvents leases events to the caller, and waits for them.
func (s *API) pullEvents(c *call) {
	r, ok := pullBody(c, parsePull)
	if !ok {
		return
	}
	if s.puller == nil {
		c.noSubscription(c.parameter("name"))
		return
	}
	ctx, done := c.waiting(r.Wait)
	defer done()
	batch, err := s.puller.Pull(ctx, c.parameter("name"), r)
	switch {
	case err == nil:
	case c.request.Context().Err() != nil:
		return // the client is gone
	case s.ending.Err() != nil:
		batch = &pull.Batch{}
	default:
		c.pullFailed("pulling", err)
		return
	}
	if r.Wait > 0 && batch.Lease != "" && !c.stillAllowed() {
		batch.GiveBack()
		c.unauthorised("not authorised: the token of this pull is not valid any more")
		return
	}
	defer batch.Close()
	c.head(http.StatusOK, "application/json")
	w := newEventWriter(c)
	defer w.close()
	w.b = append(w.b, '{')
	if batch.Lease != "" {
		w.b = strconv.AppendQuote(append(w.b, `"lease":`...), batch.Lease)
		w.b = append(append(w.b, `,"until":"`...), api.At(batch.Until).String()...)
		w.b = append(w.b, `",`...)
	}
	w.b = append(w.b, `"events":[`...)
	for i := range batch.Events {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		e := &batch.Events[i]
		w.b = api.AppendPulledEvent(w.b, e.Event, e.Attempt, e.Redelivery)
		if !w.next() {
			return
		}
	}
	w.b = append(w.b, "]}\n"...)
	w.flush()
}

// eventWriter collects the bytes for a client, and writes them in large pieces.
type eventWriter struct {
	c       *call
	control *http.ResponseController
	pooled  *[]byte
	b       []byte
	failed  bool // the client is gone
}

// writeAt is the size at which an eventWriter writes, and keptBuffer that up to which it keeps its
// memory for others.
const writeAt, keptBuffer = 64 << 10, 1 << 20

var writeBuffers = sync.Pool{New: func() any { b := make([]byte, 0, writeAt+writeAt/2); return &b }}

func newEventWriter(c *call) *eventWriter {
	pooled := writeBuffers.Get().(*[]byte)
	return &eventWriter{c: c, control: http.NewResponseController(c), pooled: pooled,
		b: (*pooled)[:0]}
}

// next writes if much has been collected. It reports whether the client is there.
func (w *eventWriter) next() bool {
	if len(w.b) >= writeAt {
		w.flush()
	}
	return !w.failed
}

// flush writes what has been collected. The client gets WriteTimeout to read it.
func (w *eventWriter) flush() {
	if len(w.b) == 0 || w.failed {
		return
	}
	w.control.SetWriteDeadline(time.Now().Add(w.c.server.config.WriteTimeout))
	_, err := w.c.Write(w.b)
	w.failed = err != nil
	w.b = w.b[:0]
}

// close gives the memory back.
func (w *eventWriter) close() {
	if cap(w.b) <= keptBuffer {
		*w.pooled = w.b
		writeBuffers.Put(w.pooled)
	}
}

// ackEvents settles events of a lease.
func (s *API) ackEvents(c *call) {
	if changeLease(c, parseAck, "acknowledging events", func(ctx context.Context, a leaseCall) error {
		return s.puller.Ack(ctx, c.parameter("name"), a.lease, a.ids, a.upTo)
	}) {
		c.WriteHeader(http.StatusNoContent)
	}
}

// nackEvents fails events of a lease.
func (s *API) nackEvents(c *call) {
	if changeLease(c, parseNack, "failing events", func(ctx context.Context, a leaseCall) error {
		return s.puller.Nack(ctx, c.parameter("name"), a.lease, a.ids, a.nack)
	}) {
		c.WriteHeader(http.StatusNoContent)
	}
}

// extendLease changes the end of a lease.
func (s *API) extendLease(c *call) {
	var until time.Time
	if changeLease(c, parseExtend, "extending the lease", func(ctx context.Context,
		e extension) (err error) {
		until, err = s.puller.Extend(ctx, c.parameter("name"), e.lease, e.length)
		return err
	}) {
		c.json(api.Extended{Until: api.At(until)})
	}
}

// changeLease reads the body of a call with parse and makes the change. If ok is false, the call is
// answered.
func changeLease[T any](c *call, parse func([]byte) (T, error), doing string,
	change func(context.Context, T) error) (ok bool) {
	body, ok := pullBody(c, parse)
	if !ok {
		return false
	}
	if c.server.puller == nil {
		c.noSubscription(c.parameter("name"))
		return false
	}
	ctx, cancel := c.changing()
	defer cancel()
	if err := change(ctx, body); err != nil {
		c.pullFailed(doing, err)
		return false
	}
	return true
}
