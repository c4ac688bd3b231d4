package certify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/load"
)

// account has the requests and their answers in a compact form: about 220 bytes per request and 170
// per event, regardless of the size of the bodies.
type account struct {
	source   string
	requests []request
	events   []event
	byEvent  map[[16]byte]int32 // by the hash of the identity
	byID     map[[16]byte]int32 // requests by their id
	keys     map[string]int32
	workers  map[string]int32
}

// request is one attempt. Times are in microseconds since the epoch of the account.
type request struct {
	id, firstID [16]byte
	sha         [32]byte
	sent, end   int64
	line        int32
	event       int32
	before      int32 // the previous one of the same event, or -1
	kind        uint8
	status      int16
	accepted    bool
	duplicate   bool
	// unsure is true if the target may have stored the request although it was not accepted: there
	// was no answer, or a 5xx.
	unsure bool
	cutOff bool // by the client
	gzip   bool // its body was compressed
	// foundLater is true if the trail says that the request was spooled, and that the store found it
	// to be a duplicate when the spool was moved.
	foundLater bool
	traced     bool
	named      bool // the answer had a request id
	// received and ended are the first and the last time of the trail, if timed.
	received, ended int64
	timed           bool   // the trail is complete
	job             uint64 // hash of the job id in the answer; 0 if it has none
}

// event is one identity.
type event struct {
	last     int32 // its last request in the ledger; the others by request.before
	key      int32
	sequence int64
	accepted bool
	stored   bool
	storedID [16]byte
	storedAt int32 // its place in the listing
	// receivedAt and persistedAt are the times of the listing; noTime if they are missing.
	receivedAt, persistedAt int64
	// partition and position are those of the listing; partition is noPlace if they are missing.
	partition int64
	position  hookgate.Position
	// persisted is the time of the trail, by the clock of worker; noTime without a trail.
	persisted int64
	worker    int32
	spooled   bool // the trail says so
	messageID string
	eventType string
}

// noTime is the time of what has none, and noPlace the partition.
const noTime, noPlace = -1 << 63, -1

func newAccount(source string) *account {
	return &account{source: source, byEvent: map[[16]byte]int32{}, byID: map[[16]byte]int32{},
		keys: map[string]int32{}, workers: map[string]int32{}}
}

// requestID returns a UUID as bytes, and a hash of anything else.
func requestID(text string) [16]byte {
	if id, err := hookgate.ParseRequestID(text); err == nil {
		return id
	}
	sum := sha256.Sum256([]byte(text))
	return [16]byte(sum[:16])
}

func (a *account) identity(eventType, messageID string) [16]byte {
	return hookgate.Identity{Source: a.source, EventType: eventType, MessageID: messageID}.Hash()
}

// add adds an attempt of the ledger.
func (a *account) add(at *load.Attempt) error {
	hash := a.identity(at.EventType, at.MessageID)
	i, ok := a.byEvent[hash]
	if !ok {
		key, ok := a.keys[at.OrderingKey]
		if !ok {
			key = int32(len(a.keys))
			a.keys[at.OrderingKey] = key
		}
		i = int32(len(a.events))
		a.byEvent[hash] = i
		a.events = append(a.events, event{last: -1, key: key, sequence: at.Sequence,
			messageID: at.MessageID, eventType: at.EventType, persisted: noTime, partition: noPlace})
	}
	e := &a.events[i]
	r := request{
		line: int32(at.Line), event: i, before: e.last, sent: at.Sent.UnixMicro(),
		end:    end(at).UnixMicro(),
		status: int16(at.Status), accepted: at.Accepted(), duplicate: at.Duplicate(),
		unsure: at.Status == 0 || at.Status >= 500,
		named:  at.RequestID != "", cutOff: at.CutOff, gzip: at.Gzip,
		kind: uint8(slices.Index(repeatKinds, at.Kind) + 1),
	}
	if n, err := hex.Decode(r.sha[:], []byte(at.SHA256)); err != nil || n != len(r.sha) {
		return fmt.Errorf("the ledger has no digest at line %d", at.Line)
	}
	if r.named {
		r.id = requestID(at.RequestID)
	}
	if at.Answer != nil {
		r.job = jobHash(gjson.Get(at.Answer.Body, "jobId").String())
	}
	if at.FirstRequestID != "" {
		r.firstID = requestID(at.FirstRequestID)
	}
	e.accepted = e.accepted || r.accepted
	e.last = int32(len(a.requests))
	if r.named {
		a.byID[r.id] = e.last
	}
	a.requests = append(a.requests, r)
	return nil
}

// jobHash is a hash of a job id; 0 for an empty one.
func jobHash(id string) uint64 {
	if id == "" {
		return 0
	}
	h := fnv.New64a()
	io.WriteString(h, id) // a hash returns no error
	return h.Sum64()
}

// end is when an attempt ended.
func end(a *load.Attempt) time.Time {
	return a.Due.Add(time.Duration(a.LatencyUS) * time.Microsecond)
}

// of yields the requests of an event, the last one of the ledger first.
func (a *account) of(e *event) func(func(*request) bool) {
	return func(yield func(*request) bool) {
		for i := e.last; i >= 0; i = a.requests[i].before {
			if !yield(&a.requests[i]) {
				return
			}
		}
	}
}

// acknowledged is when the event was first acknowledged; ok is false if it never was.
func (a *account) acknowledged(e *event) (at int64, ok bool) {
	for r := range a.of(e) {
		if r.accepted && (!ok || r.end < at) {
			at, ok = r.end, true
		}
	}
	return at, ok
}

// begun is when the stored request was sent: the one with the id, or the earliest that may be it.
func (a *account) begun(e *event) int64 {
	if i, ok := a.byID[e.storedID]; ok && a.requests[i].event == e.index(a) {
		return a.requests[i].sent
	}
	earliest := int64(0)
	for r := range a.of(e) {
		if earliest == 0 || r.sent < earliest {
			earliest = r.sent
		}
	}
	return earliest
}

// traced counts the requests with a complete trail: those that were stored, and the duplicates.
func (a *account) traced() (stored, duplicates int64) {
	for i := range a.requests {
		switch q := &a.requests[i]; {
		case !q.timed:
		case a.events[q.event].storedID == q.id:
			stored++
		default:
			duplicates++
		}
	}
	return stored, duplicates
}

// mayBe reports whether the request may have been stored under the id.
func (r *request) mayBe(id [16]byte) bool {
	if r.named {
		return r.id == id && (r.accepted || r.unsure)
	}
	return r.accepted || r.unsure
}
