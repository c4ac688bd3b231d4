package load

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSecret = "a secret"

// quickRetry retries often and soon, so that tests are quick.
var quickRetry = Retry{Attempts: 200, Base: time.Millisecond, Max: 2 * time.Millisecond}

// message is the part of an event that the test gate reads.
type message struct {
	MessageID   string `json:"messageId"`
	EventType   string `json:"eventType"`
	OrderingKey string `json:"orderingKey"`
	Sequence    int    `json:"sequence"`
}

// behaviour is what the test gate does with a request.
type behaviour struct {
	status     int // 0 hangs up without an answer
	retryAfter string
	// keep makes the gate store the event even though its answer does not say so.
	keep bool
}

// gate answers over real connections, and records every violation of the contract of a sender: one
// request in flight per key, in order, the same bytes in each repetition, a right signature.
type gate struct {
	*httptest.Server
	// behave decides on the nth request, from 1, of an event; nil accepts everything. It may block.
	behave func(r *http.Request, m message, nth int) behaviour

	mu       sync.Mutex
	requests map[string]int    // by message id
	digests  map[string]string // of the first body, by message id
	busy     map[string]bool   // by ordering key
	kept     map[string][]int  // sequences by ordering key
	breaches []string
}

func newGate(t *testing.T, behave func(r *http.Request, m message, nth int) behaviour) *gate {
	g := &gate{
		behave:   behave,
		requests: map[string]int{}, digests: map[string]string{}, busy: map[string]bool{},
		kept: map[string][]int{},
	}
	g.Server = httptest.NewServer(g)
	t.Cleanup(g.Close)
	return g
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender was interrupted
	}
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		g.breach("body %q: %v", body, err)
	}
	nth := g.enter(r, m, body)
	defer g.leave(m)
	b := behaviour{status: http.StatusAccepted}
	if g.behave != nil {
		b = g.behave(r, m, nth)
	}
	duplicate := false
	if b.status == http.StatusAccepted || b.keep {
		duplicate = g.keep(m)
	}
	if b.retryAfter != "" {
		w.Header().Set("Retry-After", b.retryAfter)
	}
	requestID := fmt.Sprintf("%s#%d", m.MessageID, nth)
	w.Header().Set("X-Request-Id", requestID)
	switch {
	case b.status == 0:
		panic(http.ErrAbortHandler)
	case b.status != http.StatusAccepted:
		w.WriteHeader(b.status)
		fmt.Fprintf(w, `{"status":"error","error":"because","requestId":%q}`, requestID)
	case duplicate:
		w.WriteHeader(b.status)
		fmt.Fprintf(w, `{"status":"accepted","requestId":%q,"note":"duplicate_detected",`+
			`"firstRequestId":"first"}`, requestID)
	default:
		w.WriteHeader(b.status)
		fmt.Fprintf(w, `{"status":"accepted","requestId":%q}`, requestID)
	}
}

// enter records the arrival of a request, and returns how many there have been for its event.
func (g *gate) enter(r *http.Request, m message, body []byte) int {
	mac := hmac.New(sha256.New, []byte(testSecret))
	mac.Write(body)
	signature := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy[m.OrderingKey] {
		g.breaches = append(g.breaches, "two requests in flight for key "+m.OrderingKey)
	}
	g.busy[m.OrderingKey] = true
	if r.Method != http.MethodPost || r.URL.Path != "/webhooks" ||
		r.Header.Get("Content-Type") != "application/json" {
		g.breaches = append(g.breaches, fmt.Sprintf("%s %s as %q", r.Method, r.URL.Path,
			r.Header.Get("Content-Type")))
	}
	if r.Header.Get("X-Webhook-Signature") != signature {
		g.breaches = append(g.breaches, "wrong signature for "+m.MessageID)
	}
	if before, again := g.digests[m.MessageID]; again && before != signature {
		g.breaches = append(g.breaches, "other bytes in a repetition of "+m.MessageID)
	}
	g.digests[m.MessageID] = signature
	g.requests[m.MessageID]++
	return g.requests[m.MessageID]
}

func (g *gate) leave(m message) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy[m.OrderingKey] = false
}

// keep stores the event, and reports whether it was there already.
func (g *gate) keep(m message) (duplicate bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	kept := g.kept[m.OrderingKey]
	if slices.Contains(kept, m.Sequence) {
		return true
	}
	if m.Sequence != len(kept)+1 {
		g.breaches = append(g.breaches, fmt.Sprintf("key %s: %d after %v", m.OrderingKey, m.Sequence,
			kept))
	}
	g.kept[m.OrderingKey] = append(kept, m.Sequence)
	return false
}

func (g *gate) breach(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.breaches = append(g.breaches, fmt.Sprintf(format, args...))
}

// sent returns how many requests of the event have arrived.
func (g *gate) sent(id string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.requests[id]
}

// check fails the test if the sender violated the contract.
func (g *gate) check(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range g.breaches {
		t.Error(b)
	}
}

// config returns a configuration that sends input to g, flat out, with a ledger in the buffer.
func (g *gate) config(input io.Reader) (Config, *bytes.Buffer) {
	ledger := new(bytes.Buffer)
	return Config{
		Input: input, Target: g.URL, Credentials: Credentials{HMACSecret: testSecret},
		Concurrency: 8, Retry: quickRetry, Ledger: ledger,
	}, ledger
}

// event writes a line as replay reads it.
func eventLine(id, key string, sequence int) string {
	return fmt.Sprintf(`{"messageId":%q,"eventType":"test","orderingKey":%q,"sequence":%d}`+"\n", id,
		key, sequence)
}

// eventLines writes count events of each key, the keys taking turns.
func eventLines(count int, keys ...string) *strings.Reader {
	var b strings.Builder
	for n := range count {
		for _, key := range keys {
			b.WriteString(eventLine(fmt.Sprintf("%s-%d", key, n+1), key, n+1))
		}
	}
	return strings.NewReader(b.String())
}

func generated(t testing.TB, g Generator) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := g.Generate(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// attempts reads a ledger that must be complete.
func attempts(t *testing.T, ledger io.Reader) []Attempt {
	t.Helper()
	var all []Attempt
	for a, err := range ReadLedger(ledger) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	return all
}
