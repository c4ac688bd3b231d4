package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgate/hookgate"
)

// backlogShapes are the stores whose backlogs are pushed. A plain loop posts over as many
// connections as the gate may use: events of one key go one at a time.
var backlogShapes = []struct {
	name              string
	keys, connections int
	shared            *backendOptions
}{
	{"no keys", 0, pushConcurrency, nil},
	{"1,000 keys", 1000, pushConcurrency, nil},
	{"one key", 1, 1, nil},
	{"postgres, 1,000 keys", 1000, pushConcurrency, postgresAlone},
}

const (
	pushedRate = "pushed/s"
	loopRate   = "plain loop/s"
	ofLoop     = "ratio"
)

func backlogPart(ctx context.Context, b *deliveryBench) (func(int) error, func(), error) {
	to, err := startConsumers(ctx)
	if err != nil {
		return nil, nil, err
	}
	return func(round int) error {
		for i, shape := range backlogShapes {
			st, err := b.fill(ctx, b.s.Backlog, shape.keys, shape.shared)
			if err != nil {
				return err
			}
			name := fmt.Sprintf("backlog%d-%d", i, round)
			pushed, err := b.push(ctx, st, to, shape.name, name, "bare", b.s.Backlog, round)
			if err != nil {
				return fmt.Errorf("%s: %w", shape.name, err)
			}
			used, err := usageOf(&stand{servers: []*server{to.server}})
			if err != nil {
				return err
			}
			if err := b.post(ctx, to, name+"-loop", shape.connections); err != nil {
				return err
			}
			posted, err := to.wait(ctx, name+"-loop", b.s.Backlog)
			if err != nil {
				return err
			}
			again, err := usageOf(&stand{servers: []*server{to.server}})
			if err != nil {
				return err
			}
			sum := 0.0
			for _, each := range pushed.used {
				sum += each
			}
			loop := again.since(used, b.s.Backlog)
			b.add("backlog", shape.name, "pushed, µs/event, gate", "µs/event", pushed.used["server"])
			b.add("backlog", shape.name, "pushed, µs/event, sum", "µs/event", sum)
			b.add("backlog", shape.name, "plain loop, µs/event, sum", "µs/event",
				loop["client"]+loop["server"])
			b.add("backlog", shape.name, pushedRate, eventsPerSecond, pushed.perSecond())
			b.add("backlog", shape.name, loopRate, eventsPerSecond, posted.perSecond())
			b.add("backlog", shape.name, ofLoop, "", pushed.perSecond()/posted.perSecond())
		}
		return nil
	}, to.stop, nil
}

func judgeBacklog(b *deliveryBench) {
	for _, shape := range backlogShapes {
		b.d.atLeast(fmt.Sprintf("backlog, %s: over a plain loop of %d connections", shape.name,
			shape.connections), b.value("backlog", shape.name, ofLoop), targetOfLoop)
	}
}

// push starts a gate on a filled store with one new subscription from the beginning, and waits
// until n events have reached its consumer.
func (b *deliveryBench) push(ctx context.Context, st *stand, to *consumers, column, name,
	kind string, n, round int) (pushed pushed, err error) {
	c, err := b.candidate(column, subscriber{name: name, url: to.url + "/" + kind + "/" + name,
		start: "beginning"})
	if err != nil {
		return pushed, err
	}
	before, err := usageOf(&stand{servers: []*server{to.server}, backends: st.backends})
	if err != nil {
		return pushed, err
	}
	if err := c.profiled(b.s, "push-"+column, round).serve(ctx, st); err != nil {
		return pushed, err
	}
	defer st.rest()
	end, err := st.servers[0].profile(ctx)
	if err != nil {
		return pushed, err
	}
	if pushed.sinkCounts, err = to.wait(ctx, name, n); err != nil {
		return pushed, err
	}
	after, err := usageOf(&stand{servers: []*server{to.server}, backends: st.backends})
	if err != nil {
		return pushed, err
	}
	gate, err := usageOf(st)
	if err != nil {
		return pushed, err
	}
	pushed.used = after.since(before, n)
	pushed.used["sink"] = pushed.used["server"]
	pushed.used["server"] = gate.since(usage{}, n)["server"]
	delete(pushed.used, "client") // this process only waits
	return pushed, end()
}

// pushed is the outcome of push: the counts, and the processor time of each party in µs per event.
type pushed struct {
	sinkCounts
	used map[string]float64
}

// post posts as many bodies as a backlog has, over a number of connections.
func (b *deliveryBench) post(ctx context.Context, to *consumers, name string,
	connections int) error {
	f := newFilling(nil, nil, b.s.Backlog, b.s.Size)
	var bodies [512][]byte
	for i := range bodies {
		bodies[i] = f.appendBody(nil, hookgate.Identity{MessageID: fmt.Sprintf("evt-%032d", i),
			EventType: "order.paid"}, "customer-1", i)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			for failed.Load() == nil && ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= b.s.Backlog {
					return
				}
				resp, err := client.Post(to.url+"/bare/"+name, "application/json",
					bytes.NewReader(bodies[n%len(bodies)]))
				if err != nil {
					failed.Store(&err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}

const allAccepted, someRefused = "all keys accepted", "1% refused"

func badKeysPart(ctx context.Context, b *deliveryBench) (func(int) error, func(), error) {
	const keys = 1000
	to, err := startConsumers(ctx)
	if err != nil {
		return nil, nil, err
	}
	good := 0
	for n := range b.s.Backlog {
		if key, _ := keyName(n, keys, ""); !isBad(key) {
			good++
		}
	}
	return func(round int) error {
		st, err := b.fill(ctx, b.s.Backlog, keys, nil)
		if err != nil {
			return err
		}
		for _, v := range []struct {
			server, mode string
			n            int
		}{{allAccepted, answerAll, b.s.Backlog}, {someRefused, answerMost, good}} {
			name := fmt.Sprintf("keys-%s-%d", v.mode, round)
			if err := to.setMode(ctx, name, v.mode); err != nil {
				return err
			}
			counts, err := b.push(ctx, st, to, v.server, name, "good", v.n, round)
			if err != nil {
				return err
			}
			b.add("keys", v.server, pushedRate, eventsPerSecond, counts.perSecond())
			b.add("keys", v.server, "refused attempts", "", float64(counts.Refused))
		}
		return nil
	}, to.stop, nil
}

func judgeBadKeys(b *deliveryBench) {
	b.d.atLeast("rate of the others while 1% of keys fail, over none failing", b.ratio("keys",
		someRefused, allAccepted, pushedRate), targetRest)
}

const (
	oneKey      = "one key"
	memoryIdle  = "peak memory without a subscription, MiB"
	memoryHeld  = "peak memory with the key held, MiB"
	memoryFreed = "peak memory when it is drained, MiB"
	memoryMore  = "more than without, MiB"
)

func heldKeyPart(ctx context.Context, b *deliveryBench) (func(int) error, func(), error) {
	to, err := startConsumers(ctx)
	if err != nil {
		return nil, nil, err
	}
	return func(round int) error {
		st, err := b.fill(ctx, b.s.Backlog, 1, nil)
		if err != nil {
			return err
		}
		idle, err := b.idleMemory(ctx, st)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("key%d", round)
		if err := to.setMode(ctx, name, answerNone); err != nil {
			return err
		}
		c, err := b.candidate(oneKey, subscriber{name: name, url: to.url + "/good/" + name,
			start: "beginning"})
		if err != nil {
			return err
		}
		if err := c.profiled(b.s, "key", round).serve(ctx, st); err != nil {
			return err
		}
		defer st.rest()
		gate := st.servers[0]
		begin := time.Now()
		waiting, cancel := context.WithTimeout(ctx, deliverTimeout)
		defer cancel()
		if err := waitUntil(waiting, func() (bool, error) {
			var at struct {
				Cursor, End   string
				Waiting, Held int
			}
			err := gate.getJSON(ctx, "/api/subscriptions/"+name, &at)
			return at.Cursor == at.End && at.Waiting == 1 && at.Held == 1, err
		}); err != nil {
			return fmt.Errorf("wait until the subscription has passed the key: %w", err)
		}
		b.add("key", oneKey, "passed/s", eventsPerSecond, float64(b.s.Backlog)/
			time.Since(begin).Seconds())
		held, err := gate.memory("VmHWM")
		if err != nil {
			return err
		}
		if err := to.setMode(ctx, name, answerAll); err != nil {
			return err
		}
		end, err := gate.profile(ctx)
		if err != nil {
			return err
		}
		if err := gate.send(ctx, "/api/subscriptions/"+name+"/retry", `{"all":true}`); err != nil {
			return err
		}
		counts, err := to.wait(ctx, name, b.s.Backlog)
		if err != nil {
			return err
		}
		if err := end(); err != nil {
			return err
		}
		freed, err := gate.memory("VmHWM")
		b.add("key", oneKey, "drained/s, in order", eventsPerSecond, counts.perSecond())
		b.add("key", oneKey, memoryIdle, "MiB", idle)
		b.add("key", oneKey, memoryHeld, "MiB", held)
		b.add("key", oneKey, memoryFreed, "MiB", freed)
		b.add("key", oneKey, memoryMore, "MiB", max(held, freed)-idle)
		return err
	}, to.stop, nil
}

func judgeHeldKey(b *deliveryBench) {
	b.d.atLeast("a key that is free again, events/s in order", b.value("key", oneKey,
		"drained/s, in order"), targetFreed)
	b.d.atMost("a held key: memory beyond that without a subscription, MiB", b.value("key", oneKey,
		memoryMore), targetMoreMiB)
}

// idleMemory returns the peak memory of a gate without subscriptions on a filled store.
func (b *deliveryBench) idleMemory(ctx context.Context, st *stand) (float64, error) {
	c, err := b.candidate("idle")
	if err != nil {
		return 0, err
	}
	if err := c.serve(ctx, st); err != nil {
		return 0, err
	}
	defer st.rest()
	gate := st.servers[0]
	if err := waitUntil(ctx, func() (bool, error) { return gate.ready(ctx) }); err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(idleTime):
	}
	return gate.memory("VmHWM")
}

// idleTime is long enough for the work that a gate does after its start.
const idleTime = time.Second

const (
	manyEvents  = "large backlog"
	firstEvent  = "start to the first delivery, ms"
	memoryDrain = "peak memory while it is pushed, MiB"
)

func startPart(ctx context.Context, b *deliveryBench) (func(int) error, func(), error) {
	to, err := startConsumers(ctx)
	if err != nil {
		return nil, nil, err
	}
	return func(round int) error {
		st, err := b.fill(ctx, b.s.Events, 1000, nil)
		if err != nil {
			return err
		}
		idle, err := b.idleMemory(ctx, st)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("start%d", round)
		c, err := b.candidate(manyEvents, subscriber{name: name, url: to.url + "/bare/" + name,
			start: "beginning"})
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := c.serve(ctx, st); err != nil {
			return err
		}
		defer st.rest()
		gate := st.servers[0]
		if err := waitUntil(ctx, func() (bool, error) { return gate.ready(ctx) }); err != nil {
			return err
		}
		ready := time.Since(begin)
		// The first part of the backlog is enough to see how memory grows.
		n := max(1, min(b.s.Events, b.s.Backlog))
		waiting, cancel := context.WithTimeout(ctx, deliverTimeout)
		defer cancel()
		var counts sinkCounts
		if err := waitUntil(waiting, func() (bool, error) {
			var err error
			counts, err = to.counts(ctx, name)
			return counts.Received >= int64(n), err
		}); err != nil {
			return err
		}
		peak, err := gate.memory("VmHWM")
		b.add("start", manyEvents, startToReady, "ms", milliseconds(ready))
		b.add("start", manyEvents, firstEvent, "ms", milliseconds(time.Unix(0,
			counts.First).Sub(begin)))
		b.add("start", manyEvents, pushedRate, eventsPerSecond, counts.perSecond())
		b.add("start", manyEvents, memoryIdle, "MiB", idle)
		b.add("start", manyEvents, memoryDrain, "MiB", peak)
		b.add("start", manyEvents, memoryMore, "MiB", peak-idle)
		return err
	}, to.stop, nil
}

func judgeStart(b *deliveryBench) {
	many := fmt.Sprintf("backlog of %s events: ", number(float64(b.s.Events)))
	b.d.atMost(many+"start to ready, s", b.value("start", manyEvents, startToReady)/1000,
		targetFirstStart)
	b.d.atMost(many+"start to the first delivery, s", b.value("start", manyEvents, firstEvent)/1000,
		targetFirstStart)
	b.d.atMost(many+"memory beyond that without a subscription, MiB", b.value("start", manyEvents,
		memoryMore), targetMoreMiB)
}
