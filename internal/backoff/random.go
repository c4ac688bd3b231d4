package backoff

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// source replaces the random numbers of Random; nil: they are those of math/rand/v2.
var source atomic.Pointer[func(n time.Duration) time.Duration]

// Random returns a random duration from 0 up to, but not including, n, which must be above 0. Code
// that waits for a random time uses it, so that a simulation can repeat a run.
func Random(n time.Duration) time.Duration {
	if f := source.Load(); f != nil {
		return (*f)(n)
	}
	return rand.N(n)
}

// SetRandom makes f the source of Random in this process, for tests. nil ends this.
func SetRandom(f func(n time.Duration) time.Duration) {
	if f == nil {
		source.Store(nil)
		return
	}
	source.Store(&f)
}
