package certify

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// chunk is the number of events that are read back at a time. It bounds the memory.
	chunk = 1000
	// watchEvery is the time between two questions about the health of the target.
	watchEvery = 200 * time.Millisecond
)

// observer reads one phase back from the target into its folder.
type observer struct {
	*target
	dir         string
	prefix      string // of the message ids; empty for recorded traffic
	sent        map[[16]byte]struct{}
	exclusive   bool
	others      string // begins the message ids of other phases; empty before there are any
	tests       bool   // the phase sends test traffic, which listings leave out by default
	started     time.Time
	connections int
}

// each calls f for all i below n, several at a time.
func (o *observer) each(ctx context.Context, n int, f func(ctx context.Context,
	i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(o.connections)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return f(ctx, i) })
	}
	return g.Wait()
}

// listing calls f with chunks of lines: the events of this phase, and those of others if there must
// not be any.
func (o *observer) listing(ctx context.Context, f func(lines [][]byte) error) error {
	query := url.Values{}
	if o.tests {
		query.Set("tests", "true")
	}
	var lines [][]byte
	take := func(line []byte) error {
		if lines = append(lines, bytes.Clone(line)); len(lines) < chunk {
			return nil
		}
		err := f(lines)
		lines = lines[:0]
		return err
	}
	if o.prefix != "" {
		first, err := o.firstOf(ctx, o.prefix)
		if err != nil {
			return err
		}
		if len(first) == 0 {
			return nil
		}
		var e struct{ ID string }
		if err := json.Unmarshal(first, &e); err != nil || e.ID == "" {
			return fmt.Errorf("list events: %q is not an event", head(string(first)))
		}
		query.Set("after", e.ID)
		if err := take(first); err != nil {
			return err
		}
	} else {
		// the clocks may differ by that
		query.Set("from", o.started.Add(-time.Minute).UTC().Format(time.RFC3339))
	}
	err := o.events(ctx, query, func(line []byte) error {
		if !o.ours(line) {
			return nil
		}
		return take(line)
	})
	if err == nil && len(lines) > 0 {
		err = f(lines)
	}
	return err
}

// ours reports whether a stored event belongs to the evidence.
func (o *observer) ours(line []byte) bool {
	var e struct {
		MessageID  string
		ReceivedAt time.Time
	}
	if json.Unmarshal(line, &e) != nil {
		return true // Judge reports it
	}
	if o.prefix != "" {
		return strings.HasPrefix(e.MessageID, o.prefix) || o.exclusive &&
			(o.others == "" || !strings.HasPrefix(e.MessageID, o.others))
	}
	_, sent := o.sent[requestID(e.MessageID)]
	return sent || o.exclusive && !e.ReceivedAt.Before(o.started)
}

// readEvents writes events.ndjson.
func (o *observer) readEvents(ctx context.Context) (err error) {
	out, err := createLines(filepath.Join(o.dir, eventsFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	return o.listing(ctx, func(lines [][]byte) error {
		written := make([][]byte, len(lines))
		if err := o.each(ctx, len(lines), func(ctx context.Context, i int) error {
			digest, size, err := o.bodyOf(ctx, lines[i])
			// The line is kept exactly as received.
			written[i] = fmt.Appendf(nil, `{"event":%s,"bodySha256":%q,"bodySize":%d}`, lines[i], digest,
				size)
			return err
		}); err != nil {
			return err
		}
		for _, line := range written {
			if err := out.writeRaw(line); err != nil {
				return err
			}
		}
		return nil
	})
}

// bodyOf returns the digest of the body of an event in hexadecimal; empty if there is no body.
func (o *observer) bodyOf(ctx context.Context, line []byte) (digest string, size int, err error) {
	var e struct{ ID string }
	if err := json.Unmarshal(line, &e); err != nil {
		return "", 0, err
	}
	sum, size, found, err := o.bodyDigest(ctx, e.ID)
	if err != nil || !found {
		return "", 0, err
	}
	return hex.EncodeToString(sum[:]), size, nil
}

// readLineage writes lineage.ndjson, and the complete trails of a few events.
func (o *observer) readLineage(ctx context.Context, sampled []string) (err error) {
	out, err := createLines(filepath.Join(o.dir, lineageFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	samples := map[string]json.RawMessage{}
	var ids []string
	flush := func() error {
		trails, raw := make([]trail, len(ids)), make([][]byte, len(ids))
		if err := o.each(ctx, len(ids), func(ctx context.Context, i int) (err error) {
			if raw[i], err = o.trace(ctx, ids[i]); err != nil {
				return err
			}
			if err := json.Unmarshal(raw[i], &trails[i]); err != nil {
				return fmt.Errorf("trace of %s: %w", ids[i], err)
			}
			return nil
		}); err != nil {
			return err
		}
		for i := range trails {
			trails[i].MessageID = ids[i]
			if slices.Contains(sampled, ids[i]) {
				samples[ids[i]] = raw[i]
			}
			if err := out.write(&trails[i]); err != nil {
				return err
			}
		}
		ids = ids[:0]
		return nil
	}
	seen := map[[16]byte]struct{}{}
	for a, err := range readLedger(filepath.Join(o.dir, ledgerFile)) {
		if err != nil {
			return err
		}
		id := requestID(a.MessageID)
		if _, ok := seen[id]; ok {
			continue
		}
		seen[id] = struct{}{}
		if ids = append(ids, a.MessageID); len(ids) == chunk {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	return writeJSON(filepath.Join(o.dir, samplesFile), samples)
}

// sampleIDs chooses message ids of a ledger, each with the same probability.
func sampleIDs(ledger string, n int, draw func(int) int) (ids []string, err error) {
	k := 0
	for a, err := range readLedger(ledger) {
		if err != nil {
			return nil, err
		}
		if !a.Accepted() || a.Duplicate() {
			continue
		}
		k++
		if len(ids) < n {
			ids = append(ids, a.MessageID)
		} else if i := draw(k); i < n {
			ids[i] = a.MessageID
		}
	}
	return ids, nil
}

// watch writes health.ndjson until ctx ends, and reports each depth.
func (o *observer) watch(ctx context.Context, told func(depth *int64)) (err error) {
	out, err := createLines(filepath.Join(o.dir, depthFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		s := sample{At: time.Now().UTC()}
		if h, _, err := o.healthOnce(ctx); err != nil {
			s.Error = err.Error()
		} else {
			s.Depth, s.Status = h.Queue.Depth, h.Status
		}
		if ctx.Err() != nil {
			return nil
		}
		told(s.Depth)
		if err := out.write(&s); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// drained waits until the queue is empty, for at most limit.
func (o *observer) drained(ctx context.Context, limit time.Duration, lastAnswer time.Time) (ok bool,
	took time.Duration) {
	for {
		h, _, err := o.healthOnce(ctx)
		took = max(0, time.Since(lastAnswer))
		if err == nil && h.Queue.Depth != nil && *h.Queue.Depth == 0 {
			return true, took
		}
		if took > limit || ctx.Err() != nil {
			return false, took
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// scrape writes the metrics of all processes of the target into a file.
func (o *observer) scrape(ctx context.Context, urls []string, file string) error {
	if len(urls) == 0 {
		urls = []string{"/metrics"}
	}
	var texts [][]byte
	for _, u := range urls {
		text, err := o.get(ctx, u, "text/plain;version=0.0.4")
		if err != nil {
			return err
		}
		texts = append(texts, text)
	}
	all := bytes.Join(texts, []byte("\n# EOF\n"))
	if _, err := parseScrape(all); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.dir, file), all, 0o644)
}

// sentIDs returns the message ids of a ledger.
func sentIDs(ledger string) (map[[16]byte]struct{}, error) {
	ids := map[[16]byte]struct{}{}
	for a, err := range readLedger(ledger) {
		if err != nil {
			return nil, err
		}
		ids[requestID(a.MessageID)] = struct{}{}
	}
	return ids, nil
}

// lastEnd is when the last attempt of a ledger ended.
func lastEnd(ledger string) (last time.Time, n int, err error) {
	for a, err := range readLedger(ledger) {
		if err != nil {
			return last, n, err
		}
		n++
		if t := end(&a); t.After(last) {
			last = t
		}
	}
	return last, n, nil
}
