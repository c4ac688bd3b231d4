package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate/load"
	"github.com/hookgate/hookgate/store/postgres"
	storesqlite "github.com/hookgate/hookgate/store/sqlite"
)

// Targets of delivery.
const (
	targetFirstByteP50 = 10   // ms from receipt to the consumer, at most
	targetFirstByteP95 = 25   // ms
	targetAccepted     = 1.1  // P95 of the 202 with a subscription over without
	targetOfLoop       = 0.7  // share of the rate of a plain loop
	targetDelivered    = 0.5  // share of the rate without delivery
	targetIsolation    = 1.1  // P99 beside bad subscriptions over alone
	targetRest         = 0.95 // share of the rate without bad keys
	targetFreed        = 1000 // events/s of a key that is free again
	targetMoreMiB      = 64   // memory for a backlog, beyond that of the gate without it
	targetFirstStart   = 2    // s from the start to ready, with a backlog
)

// deliverTimeout bounds the wait for the events of one measurement.
const deliverTimeout = 10 * time.Minute

// pushConcurrency is the default concurrency of a subscription.
const pushConcurrency = 32

// deliverPart is a part of the measurements of delivery. once runs before the rounds and returns
// what one round does. judge adds the verdicts.
type deliverPart struct {
	name, title string
	once        func(context.Context, *deliveryBench) (round func(int) error, end func(), err error)
	judge       func(*deliveryBench)
}

var deliverParts []deliverPart

func init() {
	deliverParts = []deliverPart{
		{"latency", "From receipt to the consumer at 500/s, beside the same gate without a" +
			" subscription", latencyPart, judgeLatency},
		{"isolation", "At 500/s, alone and beside one that hangs, one that answers 500 and one that" +
			" is slow", isolationPart, judgeIsolation},
		{"flat", "Flat out, delivered and without a subscription", flatPart, judgeFlat},
		{"backlog", "A backlog pushed to a bare server, beside a plain loop", backlogPart,
			judgeBacklog},
		{"keys", "A backlog of 1,000 keys with 1% of them refused for ever, and without", badKeysPart,
			judgeBadKeys},
		{"key", "One key that was held, then freed", heldKeyPart, judgeHeldKey},
		{"start", "The start with a large backlog", startPart, judgeStart},
		{"pull", "A backlog pulled in batches of 500, beside a plain handler that sends the same" +
			" bytes; by number of clients", drainPart, judgeDrain},
		{"pull-latency", "From receipt to the answer of a pull at 500/s, beside the same gate without" +
			" a subscription", answersPart, judgeAnswers},
		{"pull-held", "Held events", heldPart, judgeHeld},
		{"pull-size", "Pulls of 100 events, with a small and a large backlog", sizesPart, judgeSizes},
		{"pull-waiting", "Clients that wait in vain", waitPart, judgeWait},
	}
}

func partNames() string {
	return "latency, isolation, flat, backlog, keys, key, start, pull, pull-latency, pull-held," +
		" pull-size, pull-waiting"
}

// deliveryBench has what all parts need.
type deliveryBench struct {
	d      *document
	s      settings
	gate   string
	dir    string
	filled map[string]*stand
}

// deliveries measures delivery to consumers, in parts. Each part runs all its rounds.
func deliveries(ctx context.Context, d *document, s settings, gate string) error {
	b := &deliveryBench{d: d, s: s, gate: gate, dir: filepath.Dir(gate), filled: map[string]*stand{}}
	defer func() {
		for _, st := range b.filled {
			st.stop()
		}
	}()
	ran := 0
	for _, p := range deliverParts {
		if s.Only != "" && !slices.Contains(strings.Split(s.Only, ","), p.name) {
			continue
		}
		ran++
		if err := b.run(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if ran == 0 {
		return fmt.Errorf("-only %s: the parts are %s", s.Only, partNames())
	}
	return nil
}

func (b *deliveryBench) run(ctx context.Context, p deliverPart) error {
	round, end, err := p.once(ctx, b)
	if end != nil {
		defer end()
	}
	if err != nil {
		return err
	}
	for n := range b.s.Rounds {
		progress("round %d of %d: deliver, %s", n+1, b.s.Rounds, p.name)
		if err := round(n); err != nil {
			return err
		}
	}
	fmt.Printf("\n%s; %d rounds\n\n", p.title, b.s.Rounds)
	b.d.figures.writeTable(os.Stdout, experimentOf(p.name))
	first := len(b.d.Verdicts)
	p.judge(b)
	b.d.writeVerdicts(os.Stdout, first)
	return nil
}

func experimentOf(part string) string { return "deliver, " + part }

func (b *deliveryBench) add(part, server, name, unit string, value float64) {
	b.d.figures.add(experimentOf(part), server, name, unit, value)
}

// value returns the median of a figure, or of its ratios.
func (b *deliveryBench) value(part, server, name string) float64 {
	if f := b.d.figures.find(experimentOf(part), server, name); f != nil {
		return f.Median
	}
	return 0
}

func (b *deliveryBench) ratio(part, server, versus, name string) float64 {
	b.d.figures.compare(experimentOf(part), server, versus)
	ratio, _ := b.d.figures.ratio(experimentOf(part), server, versus, name)
	return ratio
}

// subscriber is a subscription of a gate that is measured.
type subscriber struct {
	name, start string
	url         string        // of its consumer; empty: clients pull
	timeout     time.Duration // 0: the default
}

// candidate returns a gate with subscriptions.
func (b *deliveryBench) candidate(name string, all ...subscriber) (*candidate, error) {
	c := &candidate{name: name, gate: b.gate, load: b.s.load()}
	if len(all) == 0 {
		return c, nil
	}
	var text strings.Builder
	text.WriteString("subscriptions:\n")
	for _, s := range all {
		fmt.Fprintf(&text, "  %s:\n    start: %s\n", s.name, s.start)
		if s.url == "" {
			text.WriteString("    pull: {}\n")
			continue
		}
		fmt.Fprintf(&text, "    push:\n      url: %s\n"+
			"      signing: [\"raw:a-secret-of-the-benchmarks-0123456789\"]\n", s.url)
		if s.timeout > 0 {
			fmt.Fprintf(&text, "      timeout: %s\n", s.timeout)
		}
	}
	file, err := os.CreateTemp(b.dir, "*.yaml")
	if err != nil {
		return nil, err
	}
	if _, err := file.WriteString(text.String()); err != nil {
		return nil, err
	}
	c.settings = []string{"HOOKGATE_CONFIG=" + file.Name(), "HOOKGATE_LOG_LEVEL=error"}
	return c, file.Close()
}

// fill returns a stand that is not running, whose store has events of so many keys. 0: none has a
// key. It is made once.
func (b *deliveryBench) fill(ctx context.Context, events, keys int, shared *backendOptions) (*stand,
	error) {
	name := fmt.Sprint(events, keys, shared != nil)
	if st := b.filled[name]; st != nil {
		return st, nil
	}
	progress("fill a store with %d events of %d keys", events, keys)
	st := &stand{credentials: load.Credentials{HMACSecret: secret}}
	b.filled[name] = st
	var err error
	if st.dir, err = os.MkdirTemp("", "hookgate-bench-"); err != nil {
		return nil, err
	}
	fill := func(f *filling) error {
		f.keys = func(n int, eventType string) (string, bool) { return keyName(n, keys, eventType) }
		return f.run(ctx)
	}
	if shared != nil {
		if st.backends, err = startBackends(ctx, *shared); err != nil {
			return nil, err
		}
		store, err := postgres.Open(ctx, postgres.Config{URL: st.backends.url(),
			StatementTimeout: fillStatementTimeout})
		if err != nil {
			return nil, err
		}
		defer store.Close()
		f := newFilling(store, noClaims, events, b.s.Size)
		f.batch = 5000 // PostgreSQL ends a transaction that pauses, as on a busy machine
		return st, fill(f)
	}
	data := filepath.Join(st.dir, "data0")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	store, err := storesqlite.Open(ctx, filepath.Join(data, "store.db"))
	if err != nil {
		return nil, err
	}
	return st, errors.Join(fill(newFilling(store, noClaims, events, b.s.Size)), store.Close())
}

// send posts a command to a server.
func (s *server) send(ctx context.Context, path, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", path, resp.Status, answer)
	}
	return err
}
