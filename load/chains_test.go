package load

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Goal: exactly the first unfinished event of each key is ready or in flight, with those that are
// sent together with it. The channel closes exactly when the input has ended and everything is
// done. Method: random operations on chains, compared with a plain queue of turns per key.
func TestChainsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 64
		c := newChains(most)
		queues := map[string][][]*event{} // unfinished turns, in order
		var taken, resting []*event       // on their way, in back-off
		added, left, over := 0, 0, false

		// An action that is not possible does nothing.
		pick := func(t *rapid.T, from *[]*event, then func(*event)) {
			if len(*from) == 0 {
				return
			}
			i := rapid.IntRange(0, len(*from)-1).Draw(t, "which")
			ev := (*from)[i]
			*from = slices.Delete(*from, i, i+1)
			then(ev)
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				if over || left == most {
					return
				}
				key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
				added++
				left++
				ev := &event{line: added, orderingKey: key, together: rapid.Bool().Draw(t, "together")}
				c.add(ev)
				turns := len(queues[key])
				if joins := ev.together && turns > 0; joins {
					queues[key][turns-1] = append(queues[key][turns-1], ev)
					turns--
				} else {
					queues[key] = append(queues[key], []*event{ev})
				}
				if ev.held != (turns > 0) {
					t.Fatalf("held is %v behind %d turns", ev.held, turns)
				}
			},
			"take": func(t *rapid.T) {
				if len(c.ready) == 0 {
					return
				}
				ev := <-c.ready
				if head := queues[ev.orderingKey][0]; !slices.Contains(head, ev) {
					t.Fatalf("key %s gave line %d while line %d is unfinished", ev.orderingKey, ev.line,
						head[0].line)
				}
				if slices.Contains(taken, ev) || slices.Contains(resting, ev) {
					t.Fatalf("line %d was given out twice", ev.line)
				}
				taken = append(taken, ev)
			},
			"rest":  func(t *rapid.T) { pick(t, &taken, func(ev *event) { resting = append(resting, ev) }) },
			"again": func(t *rapid.T) { pick(t, &resting, c.again) },
			"done": func(t *rapid.T) {
				pick(t, &taken, func(ev *event) {
					c.done(ev)
					left--
					q := queues[ev.orderingKey]
					if q[0] = slices.DeleteFunc(q[0], func(e *event) bool { return e == ev }); len(q[0]) == 0 {
						queues[ev.orderingKey] = q[1:]
					}
				})
			},
			"end": func(t *rapid.T) {
				if !over {
					c.end()
					over = true
				}
			},
			"": func(t *rapid.T) {
				busy, due := 0, 0
				for _, q := range queues {
					if len(q) > 0 {
						busy++
						due += len(q[0])
					}
				}
				if got := len(c.ready) + len(taken) + len(resting); got != due {
					t.Fatalf("%d ready or out, want %d of %d keys", got, due, busy)
				}
				if c.unfinished() != left {
					t.Fatalf("%d unfinished, want %d", c.unfinished(), left)
				}
				if closed := len(c.ready) == 0 && isClosed(c.ready); closed != (over && left == 0) {
					t.Fatalf("closed is %v with %d left and over %v", closed, left, over)
				}
				if len(c.last) != busy {
					t.Fatalf("remembers %d keys, want %d", len(c.last), busy)
				}
			},
		})
	})
}

// isClosed reports whether an empty channel is closed.
func isClosed(c <-chan *event) bool {
	select {
	case _, ok := <-c:
		return !ok
	default:
		return false
	}
}
