package certify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"iter"
	"path/filepath"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// settle waits until SettleSeconds after since. A target that loses or changes events later has
// that time to do so before the second reading.
func (c *certification) settle(ctx context.Context, since time.Time) {
	wait := seconds(c.Profile.SettleSeconds) - time.Since(since)
	if wait <= 0 {
		return
	}
	c.doing("", "waiting before everything is read again")
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
}

// readAgain reads the events of a phase and their lineage a second time.
func (c *certification) readAgain(ctx context.Context, name string) error {
	var run phaseRun
	if err := readJSON(c.file(name, phaseFile), &run); err != nil {
		return err
	}
	if run.Unread != "" {
		return nil
	}
	c.doing(name, "reading everything again")
	o := &observer{target: c.target, dir: c.file(name), prefix: run.Prefix,
		exclusive: c.Profile.Exclusive && run.Prefix != "", others: c.start.RunID + "-",
		tests: c.Profile.Source == hookgate.TestSource, started: run.Started,
		connections: readConnections}
	var err error
	if run.Prefix == "" {
		o.sent, err = sentIDs(c.file(name, ledgerFile))
	}
	if err == nil {
		err = o.readAgain(ctx)
	}
	if err == nil {
		err = o.readLineageAgain(ctx)
	}
	if err != nil {
		c.say("%s: read again: %v", name, err)
		run.Unread = err.Error()
		return writeJSON(c.file(name, phaseFile), run)
	}
	return nil
}

// readAgain writes reread.ndjson: a second listing, and the digests of the bodies.
func (o *observer) readAgain(ctx context.Context) (err error) {
	known := map[string]string{}
	for s, err := range readLines[storedEvent](filepath.Join(o.dir, eventsFile)) {
		if err != nil {
			return err
		}
		var l struct{ ID string }
		if err := json.Unmarshal(s.Event, &l); err != nil {
			return err
		}
		known[l.ID] = digestText(s.Event)
	}
	out, err := createLines(filepath.Join(o.dir, againFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	return o.listing(ctx, func(lines [][]byte) error {
		readings := make([]reading, len(lines))
		if err := o.each(ctx, len(lines), func(ctx context.Context, i int) (err error) {
			var e struct{ ID string }
			if err := json.Unmarshal(lines[i], &e); err != nil {
				return err
			}
			r := reading{ID: e.ID, LineSHA256: digestText(lines[i])}
			if known[e.ID] == "" {
				r.Event = lines[i]
			}
			r.BodySHA256, _, err = o.bodyOf(ctx, lines[i])
			readings[i] = r
			return err
		}); err != nil {
			return err
		}
		for i := range readings {
			if err := out.write(&readings[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func digestText(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// trailAgain is a line of lineage-again.ndjson: the lineage of a message id at the second reading,
// or its digest if nothing has changed.
type trailAgain struct {
	MessageID string         `json:"messageId"`
	SHA256    string         `json:"sha256"`
	Requests  []requestTrail `json:"requests,omitempty"`
}

// digest is the digest of a trail without the deliveries, which may still go on.
func (t *trail) digest() (string, error) {
	kept := slices.Clone(t.Requests)
	for i := range kept {
		kept[i].Stages = withoutDeliveries(kept[i].Stages)
	}
	text, err := json.Marshal(kept)
	return digestText(text), err
}

// readLineageAgain writes lineage-again.ndjson.
func (o *observer) readLineageAgain(ctx context.Context) (err error) {
	out, err := createLines(filepath.Join(o.dir, lineageAgainFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	var batch []trail
	flush := func() error {
		again := make([]trailAgain, len(batch))
		if err := o.each(ctx, len(batch), func(ctx context.Context, i int) error {
			text, err := o.trace(ctx, batch[i].MessageID)
			if err != nil {
				return err
			}
			var t trail
			if err := json.Unmarshal(text, &t); err != nil {
				return err
			}
			before, err := batch[i].digest()
			if err != nil {
				return err
			}
			again[i].MessageID = batch[i].MessageID
			if again[i].SHA256, err = t.digest(); again[i].SHA256 != before {
				again[i].Requests = t.Requests
			}
			return err
		}); err != nil {
			return err
		}
		batch = batch[:0]
		for i := range again {
			if err := out.write(&again[i]); err != nil {
				return err
			}
		}
		return nil
	}
	for t, err := range readLines[trail](filepath.Join(o.dir, lineageFile)) {
		if err != nil {
			return err
		}
		if batch = append(batch, t); len(batch) == chunk {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// checkAgain compares a second listing with the first. Only an event whose outcome was unknown may
// be new.
func checkAgain(a *account, first iter.Seq2[storedEvent, error],
	second iter.Seq2[reading, error]) (v violations, err error) {
	type seen struct {
		line, body [16]byte // of the digests
		place      int
	}
	short := func(digest string) [16]byte {
		sum := sha256.Sum256([]byte(digest))
		return [16]byte(sum[:16])
	}
	again, fresh, n := map[string]seen{}, []reading{}, 0
	for r, err := range second {
		if err != nil {
			return v, err
		}
		n++
		if _, twice := again[r.ID]; twice {
			v.add("event %s is listed twice when it is read again", r.ID)
		}
		again[r.ID] = seen{short(r.LineSHA256), short(r.BodySHA256), n}
		if r.Event != nil {
			fresh = append(fresh, r)
		}
	}
	place := 0
	for s, err := range first {
		if err != nil {
			return v, err
		}
		var l listedEvent
		if err := json.Unmarshal(s.Event, &l); err != nil {
			return v, err
		}
		if _, sent := a.byEvent[a.identity(l.EventType, l.MessageID)]; !sent {
			continue
		}
		switch d, ok := again[l.ID]; {
		case !ok:
			v.add("%s: event %s was there and is gone", l.MessageID, l.ID)
		case d.line != short(digestText(s.Event)):
			v.add("%s: event %s is described differently when it is read again", l.MessageID, l.ID)
		case d.body != short(s.BodySHA256):
			v.add("%s: event %s has another body when it is read again", l.MessageID, l.ID)
		case d.place < place:
			v.add("%s: event %s is at another place when it is read again", l.MessageID, l.ID)
		default:
			place = d.place
		}
	}
	for _, r := range fresh {
		if err := a.checkFresh(&v, &r); err != nil {
			return v, err
		}
	}
	return v, nil
}

// checkFresh checks an event that was not in the first listing.
func (a *account) checkFresh(v *violations, r *reading) error {
	var l listedEvent
	if err := json.Unmarshal(r.Event, &l); err != nil {
		return err
	}
	i, sent := a.byEvent[a.identity(l.EventType, l.MessageID)]
	switch {
	case !sent || l.Source != a.source:
		v.add("event %s (%s) was stored after everything had been read, and was not sent", l.ID,
			l.MessageID)
	case a.events[i].stored:
		v.add("%s is stored once more, as event %s, since everything had been read", l.MessageID, l.ID)
	case a.events[i].accepted: // persisted reports that it was missing
	default:
		for q := range a.of(&a.events[i]) {
			if q.unsure && l.SHA256 == hex.EncodeToString(q.sha[:]) && r.BodySHA256 == l.SHA256 {
				return nil
			}
		}
		v.add("%s was refused, or had other bytes, and is stored as event %s since everything had "+
			"been read", l.MessageID, l.ID)
	}
	return nil
}

// checkLineageAgain compares a second reading of the lineage with the first. Only the trail of a
// request whose outcome was unknown may be new.
func checkLineageAgain(a *account, v *violations, first iter.Seq2[trail, error],
	second iter.Seq2[trailAgain, error]) error {
	again := map[string]trailAgain{}
	for t, err := range second {
		if err != nil {
			return err
		}
		again[t.MessageID] = t
	}
	for t, err := range first {
		if err != nil {
			return err
		}
		digest, err := t.digest()
		if err != nil {
			return err
		}
		other, ok := again[t.MessageID]
		if ok && other.SHA256 == digest {
			continue
		}
		changed := !ok
		for _, r := range t.Requests {
			one := trail{Requests: []requestTrail{r}}
			want, err := one.digest()
			if err != nil {
				return err
			}
			changed = changed || !slices.ContainsFunc(other.Requests, func(r requestTrail) bool {
				one := trail{Requests: []requestTrail{r}}
				got, err := one.digest()
				return err == nil && got == want
			})
		}
		switch {
		case changed:
			v.add("%s: its lineage has changed, or is gone, when it is read again", t.MessageID)
		case !a.mayGrow(t.MessageID, other.Requests):
			v.add("%s: it has another trail since everything had been read", t.MessageID)
		}
	}
	return nil
}

// mayGrow reports whether a trail of the message id may appear later: a request had no answer.
func (a *account) mayGrow(messageID string, requests []requestTrail) bool {
	for _, r := range requests {
		i, ok := a.byEvent[a.identity(r.EventType, messageID)]
		if !ok {
			continue
		}
		for q := range a.of(&a.events[i]) {
			if q.unsure {
				return true
			}
		}
	}
	return false
}
