package certify

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/hookgate/hookgate/certify/consumer"
)

// taken is an event that was sent, with its attempts in the order in which they arrived.
type taken struct {
	*event
	// acked is when the target first acknowledged it; zero if it never did.
	acked    time.Time
	key      string
	attempts []*consumer.Attempt
}

// settled is when the consumer first took the event; ok is false if it never did.
func (t *taken) settled() (at time.Time, ok bool) {
	for _, a := range t.attempts {
		if a.Took() && (!ok || a.End.Before(at)) {
			at, ok = a.End, true
		}
	}
	return at, ok
}

// passed is when the consumer went on to the next event of the key, at the earliest. In a lease it
// does so before it acknowledges.
func (t *taken) passed() (at time.Time, ok bool) {
	at, ok = t.settled()
	for _, a := range t.attempts {
		if a.Took() && a.Lease != "" && a.At.Before(at) {
			at = a.At
		}
	}
	return at, ok
}

// deliveryReport is deliveries.json.
type deliveryReport struct {
	Events   int `json:"events"`   // acknowledged
	Settled  int `json:"settled"`  // of them, taken by the consumer
	Attempts int `json:"attempts"` // of the run's events
	// Failed, Cut and Refused count the attempts that were not taken.
	Failed  int `json:"failed"`
	Cut     int `json:"cut"`
	Refused int `json:"refused"`
	// Ignored counts attempts of events of other runs.
	Ignored int `json:"ignored"`
	// P50 and P95 are the times from sending to the consumer while everything was well.
	P50 float64 `json:"p50Ms"`
	P95 float64 `json:"p95Ms"`

	Undelivered violations `json:"undelivered"`
	Abandoned   violations `json:"abandoned"`
	Repeated    violations `json:"repeated"`
	Disordered  violations `json:"disordered"`
	Together    violations `json:"together"`
	Bytes       violations `json:"bytes"`
	Sender      violations `json:"sender"`
	Signature   violations `json:"signature"`
	WebhookID   violations `json:"webhookId"`
	Numbers     violations `json:"numbers"`
	Headers     violations `json:"headers"`
	Parked      violations `json:"parked"`
	Policy      violations `json:"policy"`
	Impatient   violations `json:"impatient"`

	// LagMS is the greatest delay of the consumer itself.
	LagMS          float64 `json:"lagMs"`
	RecoverSeconds float64 `json:"recoverSeconds"`
	// ReadySeconds is the time to recover after the 503s. Asked counts the answers that asked for a
	// wait, and Unready all of them; Probes are those per second after the first second.
	ReadySeconds float64 `json:"readySeconds"`
	Unready      int     `json:"unready"`
	Asked        int     `json:"asked"`
	Probes       float64 `json:"probesPerSecond"`
	// Storm is the worst multiple of the attempts that a rate from one, doubled each second, allows.
	Storm float64 `json:"storm"`
	// Calm and Trouble are the P95 of the other subscription before and during the failures.
	Calm    float64 `json:"otherCalmP95Ms"`
	Trouble float64 `json:"otherTroubleP95Ms"`
	// AnsweredCalm and AnsweredTrouble are the P95 of the 202s of the same events.
	AnsweredCalm    float64 `json:"answeredCalmP95Ms"`
	AnsweredTrouble float64 `json:"answeredTroubleP95Ms"`

	unanswered bool // the exceptions could not be read
	untried    bool // no key failed
	heldUp     int  // events that were delivered after the outage and acknowledged before its end
	fewOthers  bool // too few events of the other subscription to compare
	fewCalm    bool // too few events before the failures
}

// deliveryCheck checks the ledger of the consumer against that of the sender.
type deliveryCheck struct {
	deliveryReport
	account  *account
	run      deliveryRun
	limits   Phase
	source   string
	prefix   string
	timeout  time.Duration
	offset   time.Duration // by which the timestamps of attempts are usually before their receipt
	events   []taken
	byID     map[string]int // by message id
	byKey    map[string][]*taken
	attempts []*consumer.Attempt // in the order in which they arrived
	others   []*consumer.Attempt
	listed   listedExceptions
	samples  []stateSample
}

func checkDelivery(dir, source, prefix string, limits Phase, m *measured) (*deliveryCheck, error) {
	d := &deliveryCheck{account: m.account, limits: limits, source: source, prefix: prefix,
		byID: map[string]int{}, byKey: map[string][]*taken{}}
	if err := readJSON(filepath.Join(dir, deliveryFile), &d.run); err != nil {
		return nil, err
	}
	d.timeout = seconds(d.run.TimeoutSeconds)
	keys := make([]string, len(m.account.keys))
	for key, i := range m.account.keys {
		keys[i] = "k:" + key
	}
	d.events = make([]taken, len(m.account.events))
	for i := range m.account.events {
		e := &m.account.events[i]
		t := &d.events[i]
		t.event, t.key = e, keys[e.key]
		if at, ok := m.account.acknowledged(e); ok {
			t.acked = time.UnixMicro(at)
		}
		d.byID[e.messageID] = i
		d.byKey[t.key] = append(d.byKey[t.key], t)
	}
	if err := d.read(dir); err != nil {
		return nil, err
	}
	d.completeness()
	for _, a := range d.attempts {
		d.attempt(a)
	}
	for i := range d.events {
		d.sequence(&d.events[i])
	}
	for _, key := range keys {
		d.order(d.byKey[key])
		all := d.attemptsOf(key)
		d.together(key, all)
		d.waits(key, all)
	}
	d.spoilt()
	d.times()
	return d, nil
}

// read reads the files of the consumer.
func (d *deliveryCheck) read(dir string) error {
	ledger := func(name string) (all []*consumer.Attempt, err error) {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		err = consumer.Read(f, func(a consumer.Attempt) error {
			all = append(all, &a)
			return nil
		})
		slices.SortStableFunc(all, func(a, b *consumer.Attempt) int { return a.At.Compare(b.At) })
		return all, err
	}
	all, err := ledger(attemptsFile)
	if err != nil {
		return fmt.Errorf("%s: %w", attemptsFile, err)
	}
	if d.others, err = ledger(witnessFile); err != nil {
		return fmt.Errorf("%s: %w", witnessFile, err)
	}
	for _, a := range all {
		i, ok := d.byID[a.MessageID]
		switch {
		case ok:
			d.attempts = append(d.attempts, a)
			d.events[i].attempts = append(d.events[i].attempts, a)
		case len(a.MessageID) >= len(d.prefix) && a.MessageID[:len(d.prefix)] == d.prefix:
			d.Bytes.add("%s was delivered, and was never sent", head(a.MessageID))
		default:
			d.Ignored++
		}
	}
	var offsets []float64
	for _, a := range d.attempts {
		if begun, err := strconv.ParseInt(a.Timestamp, 10, 64); err == nil {
			offsets = append(offsets, a.At.Sub(time.Unix(begun, 0)).Seconds())
		}
	}
	d.offset = seconds(quantile(offsets, 0.5))
	if err := readJSON(filepath.Join(dir, exceptionsFile), &d.listed); err != nil {
		d.listed.Error = "they were not listed"
	}
	for s, err := range readLines[stateSample](filepath.Join(dir, statesFile)) {
		if err != nil {
			return err
		}
		d.samples = append(d.samples, s)
		d.LagMS = max(d.LagMS, s.LagMS)
	}
	return nil
}

// isSpoilt reports whether an event was made to wait on purpose.
func (d *deliveryCheck) isSpoilt(t *taken) bool {
	return t.key == d.run.FailingKey || d.run.Refused != nil && t.key == d.run.Refused.Key
}

// completeness looks for acknowledged events that were not delivered.
func (d *deliveryCheck) completeness() {
	other := map[string]bool{}
	for _, a := range d.others {
		if a.Took() {
			other[a.MessageID] = true
		}
	}
	for i := range d.events {
		t := &d.events[i]
		if t.acked.IsZero() {
			continue
		}
		d.Events++
		_, settled := t.settled()
		switch {
		case settled:
			d.Settled++
		case d.isSpoilt(t): // Parked has it
		case len(t.attempts) == 0:
			d.Undelivered.add("%s of key %s was acknowledged and never delivered", t.messageID, t.key)
		default:
			last := t.attempts[len(t.attempts)-1]
			d.Abandoned.add("%s of key %s was not delivered again after its attempt %s had %s", t.messageID,
				t.key, head(last.Attempt), last.Did)
		}
		if !other[t.messageID] {
			d.Undelivered.add("%s of key %s was never delivered to the other subscription", t.messageID,
				t.key)
		}
	}
}

// attempt checks what one attempt says of its event.
func (d *deliveryCheck) attempt(a *consumer.Attempt) {
	t := &d.events[d.byID[a.MessageID]]
	d.Attempts++
	switch {
	case a.Did == consumer.Refused:
		d.Refused++
	case a.Cut:
		d.Cut++
	case !a.Took():
		d.Failed++
	}
	at := fmt.Sprintf("%s, attempt %s at %s", t.messageID, head(a.Attempt), a.At.Format(clock))
	sameBytes, encoding := d.body(t, a, at)
	if !sameBytes {
		// The sender's signature cannot hold.
	} else if a.ContentEncoding != encoding {
		d.Sender.add("%s: the content encoding is %q, the sender's %q", at, head(a.ContentEncoding),
			encoding)
	} else if a.ContentType != contentType {
		d.Sender.add("%s: the content type is %q, the sender's %q", at, head(a.ContentType), contentType)
	} else if d.run.SenderSigned && a.SenderSignature != consumer.Valid {
		d.Sender.add("%s: the sender's signature is %s", at, a.SenderSignature)
	}
	if d.run.Push {
		d.signed(a, at)
	}
	want := func(name, got, wanted string) {
		if got != wanted {
			d.Headers.add("%s: %s is %q, it should be %q", at, name, head(got), wanted)
		}
	}
	want("the subscription", a.Subscription, d.run.Subscription)
	want("the source", a.Source, d.source)
	want("the type", a.Type, t.eventType)
	want("the key", a.Key, t.key)
	want("the redelivery number", a.Redelivery, "0")
	if first := t.attempts[0]; number(a.EventID) == 0 || a.EventID != first.EventID {
		d.Headers.add("%s: the event id is %q, before it was %q", at, head(a.EventID),
			head(first.EventID))
	}
	received, err := time.Parse(time.RFC3339Nano, a.ReceivedAt)
	if slack := d.slack(); err != nil || !t.acked.IsZero() && (received.After(t.acked.Add(slack)) ||
		received.Before(time.UnixMicro(d.account.begun(t.event)).Add(-slack))) {
		d.Headers.add("%s: received at %q, but it was sent and acknowledged until %s", at,
			head(a.ReceivedAt), t.acked.UTC().Format(clock))
	}
}

// clock is how findings show times.
const clock = "15:04:05.000"

// contentType is that of all generated events.
const contentType = "application/json"

// slack is by how much the clocks of the two sides may differ.
func (d *deliveryCheck) slack() time.Duration { return seconds(d.limits.Consumer.ClockSeconds) }

// body checks the bytes, and that the webhook id is that of the event's first request. It returns
// the content encoding with which the bytes were sent.
func (d *deliveryCheck) body(t *taken, a *consumer.Attempt, at string) (sameBytes bool,
	encoding string) {
	id := requestID(a.WebhookID)
	named := false
	for r := range d.account.of(t.event) {
		if r.duplicate || !r.accepted && !r.unsure {
			continue
		}
		if fmt.Sprintf("%x", r.sha) == a.SHA256 {
			if sameBytes = true; r.gzip {
				encoding = "gzip"
			}
		}
		named = named || r.mayBe(id)
	}
	if !sameBytes {
		d.Bytes.add("%s: its %d bytes are not those that were sent", at, a.Size)
	}
	if first := t.attempts[0]; !named || a.WebhookID != first.WebhookID {
		d.WebhookID.add("%s: the webhook-id is %q, and not that of the first request", at,
			head(a.WebhookID))
	}
	return sameBytes, encoding
}

// signed checks signature and timestamp.
func (d *deliveryCheck) signed(a *consumer.Attempt, at string) {
	if d.run.Signed && a.Signature != consumer.Valid {
		d.Signature.add("%s: the signature is %s", at, a.Signature)
		return
	}
	n, err := strconv.ParseInt(a.Timestamp, 10, 64)
	if off := a.At.Sub(time.Unix(n, 0)); err != nil || off.Abs() > d.slack()+time.Second {
		d.Signature.add("%s: the timestamp %q is %.0f s before its receipt", at, head(a.Timestamp),
			math.Round(off.Seconds()))
	}
}

// sequence checks the attempts of one event: their numbers, and that nothing follows the one that
// was taken.
func (d *deliveryCheck) sequence(t *taken) {
	var done *consumer.Attempt
	for i, a := range t.attempts {
		n := number(a.Attempt)
		where := fmt.Sprintf("%s: attempt %q at %s", t.messageID, head(a.Attempt), a.At.Format(clock))
		switch {
		case n < 1:
			d.Numbers.add("%s is not a number", where)
		case i == 0 && n != 1 && !d.run.down(time.Time{}, a.At):
			d.Numbers.add("%s is the first", where)
		case i > 0:
			d.follows(t.attempts[i-1], a, where)
		}
		if done != nil && !a.At.Before(done.End) {
			d.Repeated.add("%s of key %s was taken at %s, and delivered again at %s", t.messageID, t.key,
				done.End.Format(clock), a.At.Format(clock))
		}
		if a.Settled() && !d.late(a) && done == nil {
			done = a
		}
	}
}

// late reports whether the target may have given up the attempt before it got the answer, because
// the consumer took long, or the request did. Half of the time-out is a safe distance.
func (d *deliveryCheck) late(a *consumer.Attempt) bool {
	took := a.End.Sub(a.At)
	if begun, err := strconv.ParseInt(a.Timestamp, 10, 64); err == nil {
		took = a.End.Sub(time.Unix(begun, 0)) - d.offset
	}
	return took > d.timeout/2
}

// follows checks the number of an attempt against that of the one before.
func (d *deliveryCheck) follows(before, a *consumer.Attempt, where string) {
	n, last := number(a.Attempt), number(before.Attempt)
	least, most := last+1, last+1
	if before.Cut || before.Did == consumer.Unready && d.run.Push {
		least-- // sent again as the same attempt: an outage does not count
	}
	if d.run.down(before.At, a.At) || !d.run.Healed.IsZero() && a.At.After(d.run.Healed) {
		most = math.MaxInt64 // attempts that nobody saw, and those after a person's retry
		if least = last; a.At.After(d.run.Healed) && !d.run.Healed.IsZero() {
			least = 1
		}
	}
	if before.Took() || a.At.Before(before.End) {
		return // Repeated or Together has it
	}
	if n < least || n > most {
		d.Numbers.add("%s follows attempt %d", where, last)
	}
}

// order checks that no event of a key is attempted before all that were acknowledged before it was
// sent are settled.
func (d *deliveryCheck) order(all []*taken) {
	type before struct {
		acked, settled time.Time
		id             string
	}
	var earlier []before
	for _, t := range all {
		settled, ok := t.passed()
		if t.acked.IsZero() || !ok || d.run.Refused != nil && d.run.Then == "dead_letter" &&
			t.messageID == d.run.Refused.MessageID {
			continue // others report what is never settled
		}
		earlier = append(earlier, before{t.acked, settled, t.messageID})
	}
	slices.SortFunc(earlier, func(a, b before) int { return a.acked.Compare(b.acked) })
	for i := 1; i < len(earlier); i++ { // settled becomes the latest up to here
		if earlier[i-1].settled.After(earlier[i].settled) {
			earlier[i].settled, earlier[i].id = earlier[i-1].settled, earlier[i-1].id
		}
	}
	for _, t := range all {
		if len(t.attempts) == 0 {
			continue
		}
		sent := time.UnixMicro(d.account.begun(t.event))
		i, _ := slices.BinarySearchFunc(earlier, sent, func(b before, at time.Time) int {
			return cmp.Or(b.acked.Compare(at), -1)
		})
		if i == 0 || !t.attempts[0].At.Before(earlier[i-1].settled) || earlier[i-1].id == t.messageID {
			continue
		}
		d.Disordered.add("%s of key %s was delivered at %s, and %s before it only at %s", t.messageID,
			t.key, t.attempts[0].At.Format(clock), earlier[i-1].id, earlier[i-1].settled.Format(clock))
	}
}

// attemptsOf returns the attempts of a key in the order in which they arrived.
func (d *deliveryCheck) attemptsOf(key string) (all []*consumer.Attempt) {
	for _, t := range d.byKey[key] {
		all = append(all, t.attempts...)
	}
	slices.SortStableFunc(all, func(a, b *consumer.Attempt) int { return a.At.Compare(b.At) })
	return all
}

// early is by how much a wait may seem too short, because clocks have a resolution.
const early = 100 * time.Millisecond

// waits checks that the next attempt of a key comes after the wait for which an answer asked,
// unless a person retried the event.
func (d *deliveryCheck) waits(key string, all []*consumer.Attempt) {
	for i, a := range all[:max(0, len(all)-1)] {
		b := all[i+1]
		due := a.End.Add(seconds(a.RetryAfter))
		if a.RetryAfter == 0 || a.Cut || !b.At.Before(due.Add(-early)) ||
			!d.run.Healed.IsZero() && b.At.After(d.run.Healed) {
			continue
		}
		d.Impatient.add("key %s: attempt %s of %s came at %s, and the answer to %s at %s asked for %g s",
			key, head(b.Attempt), b.MessageID, b.At.Format(clock), a.MessageID, a.End.Format(clock),
			a.RetryAfter)
	}
}

// together checks that no two attempts of a key run at a time. Events of one lease are no two
// attempts.
func (d *deliveryCheck) together(key string, all []*consumer.Attempt) {
	for i, a := range all {
		for j := i + 1; j < len(all) && all[j].At.Before(a.End); j++ {
			b := all[j]
			if a.Lease != "" && a.Lease == b.Lease ||
				// The target may give up an attempt before the consumer sees it.
				(a.Cut || a.End.Sub(a.At) > d.timeout/2) && b.At.Sub(a.At) > d.timeout/2 {
				continue
			}
			d.Together.add("key %s: attempt %s of %s came at %s, while %s of %s was under way since %s", key,
				head(b.Attempt), b.MessageID, b.At.Format(clock), head(a.Attempt), a.MessageID,
				a.At.Format(clock))
		}
	}
}
