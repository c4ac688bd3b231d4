package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hookgate/hookgate/load"
)

// Servers and figures of these parts.
const (
	withoutDelivery = "without"
	withDelivery    = "delivered"
	alone           = "alone"
	besideBad       = "beside three bad ones"
	answeredP95     = "202, P95 ms"
	firstByte       = "receipt to consumer, P%d ms"
	eventsPerSecond = "events/s"
)

// paced sends webhooks at pacedRate to a new gate with subscriptions. It measures the 202, and with
// a name the time until the events reach this consumer.
func (b *deliveryBench) paced(ctx context.Context, part, server string, to *consumers, name string,
	round int, all ...subscriber) error {
	c, err := b.candidate(server, all...)
	if err != nil {
		return err
	}
	st, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer st.stop()
	if err := b.pace(ctx, part, server, st, round); err != nil || name == "" {
		return err
	}
	counts, err := to.wait(ctx, name, b.s.Paced)
	if err != nil {
		return err
	}
	for i, v := range []float64{counts.P50, counts.P95, counts.P99} {
		b.add(part, server, fmt.Sprintf(firstByte, []int{50, 95, 99}[i]), "ms", v)
	}
	return nil
}

// pace sends webhooks at pacedRate and measures the 202 and the processor time.
func (b *deliveryBench) pace(ctx context.Context, part, server string, st *stand,
	round int) error {
	m, err := st.replay(ctx, load.Generator{Count: b.s.Paced, Size: b.s.Size,
		Seed: 800 + uint64(round)}, pacedRate, b.s.Connections)
	if err != nil {
		return err
	}
	for _, q := range []float64{50, 95, 99} {
		b.add(part, server, fmt.Sprintf("202, P%g ms", q), "ms", m.milliseconds(q))
	}
	sum := 0.0
	for _, used := range m.cpu {
		sum += used
	}
	b.add(part, server, "µs/event, sum", "µs/event", sum)
	return nil
}

func latencyPart(ctx context.Context, b *deliveryBench) (func(int) error, func(), error) {
	to, err := startConsumers(ctx)
	if err != nil {
		return nil, nil, err
	}
	return func(round int) error {
		if err := b.paced(ctx, "latency", withoutDelivery, to, "", round); err != nil {
			return err
		}
		name := fmt.Sprint("latency", round)
		return b.paced(ctx, "latency", withDelivery, to, name, round, subscriber{name: "billing",
			url: to.url + "/good/" + name, start: "now"})
	}, to.stop, nil
}

func judgeLatency(b *deliveryBench) {
	b.d.atMost("receipt to the consumer at 500/s, P50 ms", b.value("latency", withDelivery,
		fmt.Sprintf(firstByte, 50)), targetFirstByteP50)
	b.d.atMost("receipt to the consumer at 500/s, P95 ms", b.value("latency", withDelivery,
		fmt.Sprintf(firstByte, 95)), targetFirstByteP95)
	b.d.atMost("P95 of the 202 with a subscription, over without", b.ratio("latency", withDelivery,
		withoutDelivery, answeredP95), targetAccepted)
}

func isolationPart(ctx context.Context, b *deliveryBench) (func(int) error, func(), error) {
	to, err := startConsumers(ctx)
	if err != nil {
		return nil, nil, err
	}
	return func(round int) error {
		good := func(name string) subscriber {
			return subscriber{name: "good", url: to.url + "/good/" + name, start: "now"}
		}
		name := fmt.Sprint("alone", round)
		if err := b.paced(ctx, "isolation", alone, to, name, round, good(name)); err != nil {
			return err
		}
		name = fmt.Sprint("beside", round)
		refuses := fmt.Sprint("refuses", round)
		if err := to.setMode(ctx, refuses, answerNone); err != nil {
			return err
		}
		return b.paced(ctx, "isolation", besideBad, to, name, round, good(name),
			subscriber{name: "hangs", url: to.url + "/hang/hangs", start: "now", timeout: 2 * time.Second},
			subscriber{name: "refuses", url: to.url + "/good/" + refuses, start: "now"},
			subscriber{name: "slow", url: to.url + "/slow/slow", start: "now"})
	}, to.stop, nil
}

func judgeIsolation(b *deliveryBench) {
	b.d.atMost("P99 to the consumer beside three bad ones, over alone", b.ratio("isolation",
		besideBad, alone, fmt.Sprintf(firstByte, 99)), targetIsolation)
}

func flatPart(ctx context.Context, b *deliveryBench) (func(int) error, func(), error) {
	to, err := startConsumers(ctx)
	if err != nil {
		return nil, nil, err
	}
	return func(round int) error {
		if err := b.flat(ctx, withoutDelivery, to, "", round); err != nil {
			return err
		}
		name := fmt.Sprint("flat", round)
		return b.flat(ctx, withDelivery, to, name, round, subscriber{name: "billing",
			url: to.url + "/bare/" + name, start: "now"})
	}, to.stop, nil
}

// flat sends webhooks flat out to a new gate with subscriptions, and counts until all have reached
// the consumer.
func (b *deliveryBench) flat(ctx context.Context, server string, to *consumers, name string,
	round int, all ...subscriber) error {
	c, err := b.candidate(server, all...)
	if err != nil {
		return err
	}
	st, err := c.profiled(b.s, "flat-"+server, round).start(ctx)
	if err != nil {
		return err
	}
	defer st.stop()
	end, err := st.servers[0].profile(ctx)
	if err != nil {
		return err
	}
	m, err := st.replay(ctx, load.Generator{Count: b.s.FlatOut, Size: b.s.Size,
		Seed: 900 + uint64(round)}, 0, b.s.Connections)
	if err != nil {
		return err
	}
	b.add("flat", server, "accepted/s", eventsPerSecond, m.accepted)
	rate := m.persisted
	if name != "" {
		counts, err := to.wait(ctx, name, b.s.FlatOut)
		if err != nil {
			return err
		}
		took := time.Unix(0, counts.Last).Sub(m.begun)
		rate = float64(b.s.FlatOut) / took.Seconds()
	}
	b.add("flat", server, "done/s", eventsPerSecond, rate)
	return end()
}

func judgeFlat(b *deliveryBench) {
	b.d.atLeast("flat out: stored and delivered, over stored", b.ratio("flat", withDelivery,
		withoutDelivery, "done/s"), targetDelivered)
}
