package control

import (
	"fmt"
	"math"
	"testing"

	"github.com/hookgate/hookgate"
	"pgregory.net/rapid"
)

// TestCanaryIncludesRises: a key that the gate takes at one percentage it takes at every higher
// one; at 0 it takes none, at 100 all.
func TestCanaryIncludesRises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.String().Draw(t, "key")
		first := -1
		for percent := range 101 {
			switch takes := CanaryIncludes(key, percent); {
			case takes && first < 0:
				first = percent
			case !takes && first >= 0:
				t.Fatalf("key %q is taken at %d percent, and not at %d", key, first, percent)
			}
		}
		if first < 1 {
			t.Fatalf("key %q is taken from %d percent on", key, first)
		}
	})
}

// TestCanaryShare: of many keys about the percentage is taken, in any notation, and within
// each partition too.
func TestCanaryShare(t *testing.T) {
	const n, partitions = 40_000, 16
	for _, form := range []string{"customer-%d", "%08d", "%d@example.com",
		"https://example.com/orders/%d/items"} {
		for _, percent := range []int{1, 10, 50, 90} {
			taken, all := [partitions]int{}, [partitions]int{}
			for i := range n {
				key := fmt.Sprintf(form, i)
				p := hookgate.Partition(key, partitions)
				if all[p]++; CanaryIncludes(key, percent) {
					taken[p]++
				}
			}
			sum := 0
			for p := range partitions {
				sum += taken[p]
				near(t, fmt.Sprintf("%q, partition %d", form, p), percent, taken[p], all[p])
			}
			near(t, fmt.Sprintf("%q", form), percent, sum, n)
		}
	}
}

// near fails if the share is more than five standard deviations away.
func near(t *testing.T, what string, percent, taken, of int) {
	t.Helper()
	want := float64(of) * float64(percent) / 100
	if off := math.Abs(float64(taken) - want); off > 5*math.Sqrt(want*(1-float64(percent)/100)) {
		t.Errorf("%s: %d of %d keys are taken at %d percent", what, taken, of, percent)
	}
}

// TestCanaryBucketNeverChanges: under a canary that is under way no key may change sides with a new
// version of the gate.
func TestCanaryBucketNeverChanges(t *testing.T) {
	for key, want := range map[string]int{"": 4, "customer-1": 34, "customer-2": 70, "order.paid": 65,
		"ключ": 73} {
		if got := canaryBucket(key); got != want {
			t.Errorf("the bucket of %q is %d, want %d", key, got, want)
		}
	}
}
