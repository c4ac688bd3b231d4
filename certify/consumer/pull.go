package consumer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

const (
	// pullers is the number of pulls at a time, and pulled that of the events of a lease.
	pullers, pulled = 4, 100
	// pullWait is how long a pull waits for the first event.
	pullWait = 5 * time.Second
	// afterError is the pause after a call that failed.
	afterError = 200 * time.Millisecond
	// callTimeout bounds a call that does not wait.
	callTimeout = 30 * time.Second
)

// Pull is a consumer that pulls its events.
type Pull struct {
	*Consumer
	Client *api.Client
	// Subscription is the name, and Lease the time of a lease.
	Subscription string
	Lease        time.Duration
	// SenderSecret is the HMAC secret of the senders; an empty one is not checked.
	SenderSecret string

	cancel  context.CancelFunc
	working sync.WaitGroup
}

// Return begins to pull.
func (p *Pull) Return() error {
	p.comeBack()
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	for range pullers {
		p.working.Go(func() { p.run(ctx) })
	}
	return nil
}

// Leave ends all pulls and abandons the events that are being worked on.
func (p *Pull) Leave() {
	p.leave()
	p.cancel()
	p.working.Wait()
}

func (p *Pull) run(ctx context.Context) {
	for ctx.Err() == nil {
		got, err := p.Client.Pull(ctx, p.Subscription, api.PullRequest{Max: pulled,
			Wait: api.Duration(pullWait), Lease: api.Duration(p.Lease)})
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(afterError):
			}
			continue
		}
		p.work(got)
	}
}

// outcome is an event that is answered apart from the others of its lease.
type outcome struct {
	Attempt
	pause time.Duration
}

// work answers the events of a lease. In each key it stops at the first event that it does not take
// at once.
func (p *Pull) work(got api.Pulled) {
	var taken []Attempt
	var others []outcome
	stopped := map[string]bool{}
	for i := range got.Events {
		e := &got.Events[i]
		if stopped[e.Key] {
			continue
		}
		a := p.describe(e, got.Lease)
		var pause time.Duration
		a.Did, a.Status, pause = p.decide(&a)
		if a.Did == Took {
			taken = append(taken, a)
			continue
		}
		stopped[e.Key] = true
		others = append(others, outcome{a, pause})
	}
	p.acknowledge(taken)
	for _, o := range others {
		leaves := p.leaves()
		p.working.Go(func() { p.answer(&o, leaves) })
	}
}

// acknowledge acknowledges events of one lease.
func (p *Pull) acknowledge(taken []Attempt) {
	if len(taken) == 0 {
		return
	}
	request := api.AckRequest{Lease: taken[0].Lease}
	for i := range taken {
		request.IDs = append(request.IDs, taken[i].EventID)
	}
	end := time.Now().UTC()
	cut := p.call(func(ctx context.Context) error {
		return p.Client.Ack(ctx, p.Subscription, request)
	})
	for i := range taken {
		taken[i].End, taken[i].Cut = end, cut
		p.record(&taken[i])
	}
}

// call makes a call about a lease. It reports whether the gate may not know the result.
func (p *Pull) call(f func(ctx context.Context) error) (cut bool) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return f(ctx) != nil
}

// answer answers one event of a lease.
func (p *Pull) answer(o *outcome, leaves <-chan struct{}) {
	a := &o.Attempt
	wait := o.pause
	if a.Did == Hung {
		wait = time.Until(a.At.Add(p.Lease))
	}
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-leaves:
			a.Did, a.Status = Away, 0
		}
	}
	nack := api.NackRequest{Lease: a.Lease, IDs: []string{a.EventID}, Reason: "certify: " + a.Did}
	switch a.Did {
	case Slow:
		p.acknowledge([]Attempt{*a})
		return
	case Hung, Away:
		a.End, a.Cut = time.Now().UTC(), true
		p.record(a)
		return
	case Reset:
		nack.Delay = new(api.Duration)
	case Refused:
		nack.Dead = true
	case Unready:
		if a.RetryAfter > 0 {
			nack.Delay = new(api.Duration(a.RetryAfter * float64(time.Second)))
		}
	}
	a.Status, a.End = http.StatusInternalServerError, time.Now().UTC()
	a.Cut = p.call(func(ctx context.Context) error {
		return p.Client.Nack(ctx, p.Subscription, nack)
	})
	p.record(a)
}

func (p *Pull) describe(e *api.PulledEvent, lease string) Attempt {
	sum := sha256.Sum256(e.Body)
	a := Attempt{At: time.Now().UTC(), Lease: lease, Subscription: p.Subscription,
		WebhookID: e.WebhookID,
		EventID:   e.ID, Source: e.Source, Type: e.EventType, MessageID: e.MessageID, Key: e.Key,
		ReceivedAt: e.ReceivedAt.UTC().Format(time.RFC3339Nano), Attempt: strconv.Itoa(e.Attempt),
		Redelivery: strconv.FormatInt(e.Redelivery, 10), ContentType: kept(e.Headers, "Content-Type"),
		ContentEncoding: kept(e.Headers, "Content-Encoding"),
		SHA256:          hex.EncodeToString(sum[:]), Size: len(e.Body)}
	if p.SenderSecret != "" {
		a.SenderSignature = checkSender(p.SenderSecret, e.Body, kept(e.Headers, senderHeader))
	}
	a.name(e.Body)
	return a
}

// kept returns a header of the sender.
func kept(headers []hookgate.Header, name string) string {
	for _, h := range headers {
		if http.CanonicalHeaderKey(h.Name) == name {
			return h.Value
		}
	}
	return ""
}
