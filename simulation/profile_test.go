package simulation

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver"
	"github.com/hookgate/hookgate/deliver/pull"
)

// profile is what one schedule has.
type profile struct {
	hosts  []string // the processes
	spools bool
	// oneByOne reports that spools move their records one by one, as to a queue.
	oneByOne bool
	lease    time.Duration // of the owners of subscriptions; 0: there is one process
	// recheck is that of the server of pulls, and timeout that of the queue.
	recheck, timeout time.Duration
	skew             time.Duration // the clock of the store is ahead by that
	types            []string
	poison           bool
	// pace is the longest pause of a sender between events, and perSender their number.
	pace      time.Duration
	perSender int
	// unrest is the number of steps between disturbances, and faults that of calls between faults; 0:
	// none.
	unrest, faults int
	subscribed     []string
	boots          int
	epochs         map[int]hookgate.Epoch
	text           string
}

const (
	badKey  = "k1" // the key whose events some consumers refuse
	maxWait = 30 * time.Second
)

// newWorld returns the world of a seed.
func newWorld(seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 0))
	w := &world{seed: seed, rng: rng, began: time.Now(), store: newStore(),
		processes: map[string]*process{}, files: map[string]*buffer{}, arrived: make(chan struct{}, 1),
		subs:    map[string]*subscription{},
		senders: senders{events: map[hookgate.Identity]*event{}, byID: map[int64]*event{}}}
	pick := func(n int) bool { return rng.IntN(n) == 0 }
	w.profile = profile{hosts: []string{"a"}, types: []string{"paid"},
		epochs: map[int]hookgate.Epoch{}, timeout: time.Duration(1+rng.IntN(5)) * time.Second,
		poison: pick(4), spools: pick(2), oneByOne: pick(3),
		pace:   time.Duration(1+rng.IntN(4)) * 300 * time.Millisecond,
		unrest: 30 + rng.IntN(150), faults: []int{0, 10, 25, 60}[rng.IntN(4)]}
	if pick(2) {
		w.hosts = []string{"a", "b"}
		w.lease, w.recheck = 10*time.Second, time.Second
	}
	if pick(2) {
		w.types = []string{"paid", "other"}
	}
	if pick(3) {
		w.buffer = newBuffer(4, 1000, time.Hour)
	}
	if pick(3) {
		w.skew = time.Duration(rng.IntN(121)-60) * time.Second
	}
	w.store.SetClock(w.storeNow)
	for _, host := range w.hosts {
		if w.spools {
			w.files[host] = newBuffer(1, 1000, time.Hour)
		}
	}
	switch rng.IntN(4) {
	case 0:
		w.subscribe("billing", false)
	case 1:
		w.subscribe("warehouse", true)
	case 2:
		w.subscribe("billing", false)
		w.subscribe("warehouse", true)
	default:
		w.subscribe("billing", false)
		w.subscribe("steady", false)
	}
	w.text = fmt.Sprintf("processes %v, spool %v, queue %v, timeout %v, clock of the store %v,"+
		" a fault in %d calls, a disturbance in %d steps, subscriptions %v", w.hosts, w.spools,
		w.buffer != nil, w.timeout, w.skew, w.faults, w.unrest, w.subscribed)
	return w
}

// subscribe adds a subscription.
func (w *world) subscribe(name string, pulls bool) {
	rng := w.rng
	s := &subscription{w: w, name: name, pulls: pulls, concurrency: 1 + rng.IntN(12),
		steady: name == "steady", flaky: 3 + rng.IntN(30), deadLetter: rng.IntN(4) == 0,
		retry:    deliver.Retry{First: time.Second, Max: maxWait, For: 2 * time.Minute},
		accepted: map[int64]bool{}, answered: map[int64]bool{}, settled: map[int64]bool{},
		retried: map[int64]bool{}, mayDie: map[int64]bool{}, tried: map[int64]time.Time{}}
	s.definition = hookgate.SubscriptionDefinition{Name: name, Order: []hookgate.Order{
		hookgate.OrderKey, hookgate.OrderKey, hookgate.OrderKey, hookgate.OrderAll,
		hookgate.OrderNone}[rng.IntN(5)], Start: hookgate.Start{At: hookgate.StartBeginning},
		Definition: "push"}
	if pulls {
		s.definition.Definition = "pull"
	}
	if rng.IntN(2) == 0 {
		s.definition.Filter.Types = []string{"paid"}
	}
	if !s.steady && !pulls && s.definition.Order != hookgate.OrderAll && rng.IntN(3) == 0 {
		s.failing = badKey
	}
	w.subs[name] = s
	w.subscribed = append(w.subscribed, name)
}

// pullPolicy is pull.Config.Policy.
func (w *world) pullPolicy(definition string) (pull.Policy, error) {
	if definition != "pull" {
		return pull.Policy{}, pull.ErrNotPull
	}
	s := w.subs["warehouse"]
	return pull.Policy{Retry: s.retry, DeadLetter: s.deadLetter}, nil
}

// populate starts the processes, senders and clients.
func (w *world) populate() {
	for _, host := range w.hosts {
		w.boot(host)
	}
	keys := 2 + w.rng.IntN(6)
	w.perSender = 4 + w.rng.IntN(60)/keys
	for i := range keys {
		s := &sender{w: w, key: fmt.Sprint("k", i+1), keyed: true,
			rng: rand.New(rand.NewPCG(w.seed, uint64(100+i)))}
		if s.keyed = i != 1 || keys < 3; !s.keyed {
			s.key = "paid"
		}
		if w.spools {
			s.home = w.hosts[i%len(w.hosts)]
		}
		w.senders.working++
		go s.run()
	}
	if s := w.subs["warehouse"]; s != nil {
		for i := range 1 + w.rng.IntN(3) {
			c := &client{w: w, s: s, name: fmt.Sprint("client ", i+1),
				rng: rand.New(rand.NewPCG(w.seed, uint64(200+i)))}
			go c.run()
		}
	}
}

// disturb does something to the world.
func (w *world) disturb() {
	host := w.hosts[w.rng.IntN(len(w.hosts))]
	p := w.processes[host]
	s := w.subs[w.subscribed[w.rng.IntN(len(w.subscribed))]]
	switch n := w.rng.IntN(12); {
	case p.gone || p.stopping:
		w.restart(host)
	case n < 3:
		w.kill(p)
		if w.rng.IntN(2) == 0 {
			w.restart(host)
		}
	case n == 3:
		w.note("%s is asked to stop", host)
		p.stopping = true
		p.stop()
	case n < 6:
		d := time.Duration(1 + w.rng.Int64N(int64(time.Minute)))
		w.note("%s gets no answers for %v", host, d)
		p.stalledUntil, p.lost = time.Now().Add(d), false
	case n < 9 && !s.pulls && !s.steady:
		s.outage(time.Duration(1 + w.rng.Int64N(int64(3*time.Minute))))
	case n == 9 && !s.steady:
		w.person([]hookgate.Resolution{hookgate.ResolveRetry, hookgate.ResolveSkip,
			hookgate.ResolveDeadLetter}[w.rng.IntN(3)], s)
	case n == 10:
		w.setPaused(s, w.rng.IntN(2) == 0)
	case n == 11:
		w.redeliver(s)
	}
}

// restart starts a process again, once the one before has ended.
func (w *world) restart(host string) {
	p := w.processes[host]
	select {
	case <-p.ended:
	default:
		if !p.gone {
			return
		}
	}
	w.boot(host)
}

// person settles or retries all exceptions of a subscription.
func (w *world) person(a hookgate.Resolution, s *subscription) {
	f := hookgate.ExceptionFilter{Subscription: s.name, Limit: 1 << 20}
	exceptions, _ := w.store.Exceptions(ctx, f)
	if len(exceptions) == 0 {
		return
	}
	var ids []int64
	w.mu.Lock()
	for _, x := range exceptions {
		ids = append(ids, x.Event)
		if s.retried[x.Event] = true; a != hookgate.ResolveRetry && x.Redelivery == 0 {
			s.settled[x.Event] = true
		}
	}
	w.mu.Unlock()
	if _, err := w.store.Resolve(ctx, f, a, false, by); err != nil {
		w.violate("the simulation works", "%v", err)
	}
	w.note("a person chooses %s for %s of %s", a, w.namesOf(ids), s.name)
	w.wakeAll()
}

func (w *world) setPaused(s *subscription, paused bool) {
	changed, err := w.store.SetPaused(ctx, s.name, paused, by)
	if err != nil {
		return // it is not defined yet
	}
	if changed {
		w.note("a person sets %s to paused: %v", s.name, paused)
	}
	w.wakeAll()
}

// redeliver begins a redelivery job for all events of a subscription.
func (w *world) redeliver(s *subscription) {
	job := hookgate.RedeliveryJob{Rate: 10 * w.rng.IntN(3)}
	if _, n, err := w.store.Redeliver(ctx, s.name, job, false, by); err == nil {
		w.note("a person wants %d events of %s delivered again", n, s.name)
	}
	w.wakeAll()
}

// wakeAll makes the processes notice what a person has done.
func (w *world) wakeAll() {
	for _, host := range w.hosts {
		p := w.processes[host]
		if queue, server := p.opened(); queue != nil {
			p.dispatcher.Wake()
			server.Wake("")
		}
	}
}

// calmDown ends all faults but those of the failing keys.
func (w *world) calmDown() {
	w.note("all faults end")
	w.calm.Store(true)
	w.checkDurable()
	for _, host := range w.hosts {
		w.processes[host].stalledUntil = time.Time{}
	}
	w.mu.Lock()
	for _, s := range w.subs {
		s.away, s.storm = time.Time{}, nil
	}
	w.mu.Unlock()
	for _, name := range w.subscribed {
		w.setPaused(w.subs[name], false)
	}
}

// tend does what time brings about: processes that were not heard of for long lose what they hold,
// and outages end.
func (w *world) tend() {
	for _, host := range w.hosts {
		p := w.processes[host]
		if left := time.Until(p.stalledUntil); left > 0 && left < 50*time.Second && !p.lost {
			p.lost = true
			if p.line != nil {
				w.note("%s loses its partitions", host)
				p.line.lose()
			}
		}
		if w.calm.Load() {
			if p.gone || p.stopping {
				w.restart(host)
			}
		}
	}
	for _, name := range w.subscribed {
		w.subs[name].watch()
	}
}

func (w *world) String() string { return strings.Join(w.trace, "\n") }
