package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/internal/attention"
	"github.com/hookgate/hookgate/internal/metrics"
)

const (
	// sampleEvery is how often the numbers are read, keep how many samples are kept: 15 minutes.
	sampleEvery = time.Second
	keep        = 900
	// smooth is how many samples a displayed rate is the mean of.
	smooth = 5
	// askStoreEvery is how often the store is asked, while somebody watches; askTimeout bounds each
	// time.
	askStoreEvery = 5 * time.Second
	askTimeout    = 2 * time.Second
	// looking is how long somebody counts as watching after a page was shown.
	looking = 30 * time.Second
)

// LiveConfig has the sources of the live numbers.
type LiveConfig struct {
	Metrics interface{ Snapshot() metrics.Snapshot }
	Guard   interface {
		Status() guard.Status
		Latency() guard.Latency
		Observed() guard.Observation
	}
	// Release names the release triggers that have fired.
	Release interface{ Fired() []string }
	Mode    interface{ Mode() control.Mode }
	Store   interface {
		Counts(context.Context) (hookgate.StoreCounts, error)
		Ping(context.Context) error
	}
	// Attention lists the things that a person should look at; nil for none.
	Attention *attention.List
	// MaxStreams is how many browsers may stream live numbers at a time.
	MaxStreams int
}

// Live samples a gate once a second and sends each sample, encoded once, to all browsers that
// watch.
//
//	metrics, guard ─► sample ─► ring of 15 minutes ─► Stream: first the ring, then each sample
//
// It reads counters in memory and values that the guard has observed anyway, so a sample costs some
// microseconds. All methods may be called concurrently.
type Live struct {
	config LiveConfig

	mu       sync.Mutex // guards all below; held for no I/O
	ring     []Sample   // the oldest first
	now      State
	encoded  []byte // now, in JSON
	before   metrics.Snapshot
	counted  time.Time // when before was taken
	last     map[string]time.Time
	lookedAt time.Time
	streams  map[chan []byte]bool
}

// Sample is one point of the charts. Rates are per second, over the second before.
type Sample struct {
	At                          time.Time
	Taken, Refused, Unavailable float64 // answers of 2xx, 4xx and 5xx
	Latency                     guard.Latency
	// Depth and Lag are negative if they are unknown.
	Depth  int64
	Lag    time.Duration
	Stored float64
	// Batch is the mean number of records in a transaction, BatchMillis the mean time of one; 0 if
	// there was none.
	Batch, BatchMillis float64
}

// State is all live numbers at one moment.
type State struct {
	Sample
	// Rates of the last seconds, smoothed.
	Rate, TakenRate, RefusedRate, UnavailableRate, StoredRate, DuplicateRate float64
	Queue                                                                    hookgate.QueueStats
	QueueErr                                                                 error
	Mode                                                                     control.Mode
	Guard                                                                    guard.Status
	// release triggers
	Fired   []string
	Workers int
	// of metrics.Holdings
	Owners  []int
	Sources []SourceState
	// by status, of those that occur
	Answers []StatusRate
	Store   storeState
	// Since is when conditions of this process began, by their keys. Those that were there at the
	// first sample are zero.
	Since map[string]time.Time
}

// SourceState is the traffic of one source.
type SourceState struct {
	Name string
	// Rates per second, smoothed.
	Taken, Refused, Unavailable float64
	// Last is when a request was last accepted; zero if none was since the start.
	Last time.Time
}

// StatusRate is the number of answers with a status per second, smoothed.
type StatusRate struct {
	Status int     `json:"status"`
	Rate   float64 `json:"rate"`
}

// storeState is the last answer of the store.
type storeState struct {
	Asked  time.Time
	Counts hookgate.StoreCounts
	Err    error
	// Attention is read with the store, because some of it comes from there.
	Attention []attention.Item
}

// NewLive returns the live numbers of a gate. Call Run to sample them.
func NewLive(c LiveConfig) *Live {
	l := &Live{config: c, last: map[string]time.Time{},
		streams: map[chan []byte]bool{}}
	l.before, l.counted = c.Metrics.Snapshot(), time.Now()
	l.sample(l.counted)
	return l
}

// Run takes samples until ctx ends.
func (l *Live) Run(ctx context.Context) {
	l.sample(time.Now()) // by now the sources are known
	var asking sync.WaitGroup
	defer asking.Wait()
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for n := time.Duration(1); ; n++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		l.sample(time.Now())
		if n%(askStoreEvery/sampleEvery) == 0 { // the one before has ended: askTimeout is shorter
			asking.Go(func() { l.askStore(ctx) })
		}
	}
}

// State returns the last sample. It asks the store if that was long ago.
func (l *Live) State(ctx context.Context) State {
	l.mu.Lock()
	now := time.Now()
	l.lookedAt = now
	asked := l.now.Store.Asked
	l.mu.Unlock()
	if now.Sub(asked) > askStoreEvery {
		l.askStore(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// askStore asks the store, if somebody watches.
func (l *Live) askStore(ctx context.Context) {
	l.mu.Lock()
	watched := len(l.streams) > 0 || time.Since(l.lookedAt) < looking
	l.mu.Unlock()
	if !watched {
		return
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s := storeState{Attention: l.config.Attention.Items(asking)}
	s.Counts, s.Err = l.config.Store.Counts(asking)
	if s.Err == nil {
		s.Err = l.config.Store.Ping(asking)
	}
	if ctx.Err() != nil {
		return
	}
	s.Asked = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now.Store, l.encoded = s, nil // a page and its stream must show the same
}

// sample takes a sample and sends it to everybody who watches.
func (l *Live) sample(at time.Time) {
	counted := l.config.Metrics.Snapshot()
	state := State{Guard: l.config.Guard.Status(), Fired: l.config.Release.Fired(),
		Mode: l.config.Mode.Mode(), Workers: counted.Workers, Owners: counted.Owners}
	state.Latency = l.config.Guard.Latency()
	observed := l.config.Guard.Observed()
	state.Queue, state.QueueErr = observed.Queue, observed.QueueErr
	if observed.At.IsZero() && state.QueueErr == nil {
		state.QueueErr = errNotAsked
	}
	state.At, state.Depth, state.Lag = at, -1, -1
	if state.QueueErr == nil {
		state.Depth, state.Lag = state.Queue.Depth, 0
		if oldest := state.Queue.OldestEnqueuedAt; !oldest.IsZero() {
			state.Lag = max(0, at.Sub(oldest))
		}
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(&state, counted)
	if l.ring = append(l.ring, state.Sample); len(l.ring) > keep {
		l.ring = slices.Delete(l.ring, 0, len(l.ring)-keep)
	}
	for _, s := range l.ring[max(0, len(l.ring)-smooth):] {
		n := float64(min(smooth, len(l.ring)))
		state.TakenRate += s.Taken / n
		state.RefusedRate += s.Refused / n
		state.UnavailableRate += s.Unavailable / n
		state.StoredRate += s.Stored / n
	}
	state.Rate = state.TakenRate + state.RefusedRate + state.UnavailableRate
	state.Since = begun(&l.now, &state)
	state.Store = l.now.Store
	l.now, l.before, l.counted = state, counted, at
	l.encoded = nil
	if len(l.streams) == 0 {
		return
	}
	l.tell(l.encode())
}

// The keys of State.Since. A release trigger that has fired has keyFired and its name.
const (
	keyMode     = "mode"
	keyBreaker  = "breaker"
	keyQueue    = "queue"
	keyDegraded = "degraded"
	keyFired    = "fired "
)

// conditions returns the keys of the conditions that hold.
func (s *State) conditions() (all []string) {
	if s.Mode != control.ModeNormal {
		all = append(all, keyMode+string(s.Mode))
	}
	if s.Guard.Breaker == guard.Open || s.Guard.Breaker == guard.Recovering {
		all = append(all, keyBreaker+string(s.Guard.Breaker))
	}
	if s.QueueErr != nil && s.QueueErr != errNotAsked {
		all = append(all, keyQueue)
	}
	if s.Queue.Degraded != nil {
		all = append(all, keyDegraded)
	}
	for _, name := range s.Fired {
		all = append(all, keyFired+name)
	}
	return all
}

// begun returns State.Since of the sample now, which follows the sample before.
func begun(before, now *State) map[string]time.Time {
	keys := now.conditions()
	if len(keys) == 0 {
		return nil
	}
	since := make(map[string]time.Time, len(keys))
	for _, key := range keys {
		at, held := before.Since[key]
		// Before the first sample with an observation nobody knows when it began.
		if !held && !before.At.IsZero() && before.QueueErr != errNotAsked {
			at = now.At
		}
		since[key] = at
	}
	return since
}

// errNotAsked is the state of the queue before the guard's first observation.
var errNotAsked = errors.New("the queue was not observed yet")

// count derives the values that are differences to the sample before; mu must be held.
func (l *Live) count(state *State, counted metrics.Snapshot) {
	seconds := state.At.Sub(l.counted).Seconds()
	if seconds <= 0 {
		seconds = sampleEvery.Seconds()
	}
	type key struct {
		source string
		status int
	}
	before := map[key]int64{}
	for _, a := range l.before.Answers {
		before[key{a.Source, a.Status}] = a.Count
	}
	sources := map[string]*SourceState{}
	statuses := map[int]float64{}
	for _, a := range counted.Answers {
		if a.Source == hookgate.TestSource && a.Count == 0 {
			continue // nobody has configured it
		}
		s := sources[a.Source]
		if s == nil {
			s = &SourceState{Name: a.Source}
			sources[a.Source] = s
		}
		more := a.Count - before[key{a.Source, a.Status}]
		rate := float64(more) / seconds
		statuses[a.Status] += rate
		switch a.Status / 100 {
		case 2:
			s.Taken += rate
			state.Taken += rate
			if more > 0 {
				l.last[a.Source] = state.At
			}
		case 5:
			s.Unavailable += rate
			state.Unavailable += rate
		default:
			s.Refused += rate
			state.Refused += rate
		}
	}
	const blend = 1.0 / smooth
	old := map[string]SourceState{}
	for _, s := range l.now.Sources {
		old[s.Name] = s
	}
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		s := *sources[name]
		s.Last = l.last[name]
		was := old[name]
		s.Taken, s.Refused, s.Unavailable = smoothed(was.Taken, s.Taken, blend),
			smoothed(was.Refused, s.Refused, blend), smoothed(was.Unavailable, s.Unavailable, blend)
		state.Sources = append(state.Sources, s)
	}
	for _, was := range l.now.Answers {
		statuses[was.Status] = smoothed(was.Rate, statuses[was.Status], blend)
	}
	for _, status := range slices.Sorted(maps.Keys(statuses)) {
		if statuses[status] > 0 {
			state.Answers = append(state.Answers, StatusRate{status, statuses[status]})
		}
	}
	state.Stored = float64(counted.Records-l.before.Records) / seconds
	state.DuplicateRate = smoothed(l.now.DuplicateRate,
		float64(counted.Duplicates-l.before.Duplicates)/seconds, blend)
	if batches := counted.Batches - l.before.Batches; batches > 0 {
		state.Batch = float64(counted.Records-l.before.Records) / float64(batches)
		state.BatchMillis = (counted.BatchMillis - l.before.BatchMillis) / float64(batches)
	}
}

// smoothed is a running mean that settles at 0.
func smoothed(was, is, blend float64) float64 {
	if now := was + blend*(is-was); now > 0.005 {
		return now
	}
	return 0
}

// encode returns the state in JSON; mu must be held.
func (l *Live) encode() []byte {
	if l.encoded == nil {
		text, err := json.Marshal(l.now.wire())
		if err != nil {
			panic(err) // it is made of numbers and texts
		}
		l.encoded = text
	}
	return l.encoded
}
