package history

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// bounds are the upper bounds of the buckets in milliseconds. A last bucket has everything above.
var bounds = [...]float64{0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 75, 100, 120, 150, 250,
	500, 1000, 2500, 5000, 10_000, 60_000, 600_000, 3_600_000, 86_400_000}

// Histogram counts durations in fixed buckets. The zero value is empty.
type Histogram struct{ counts [len(bounds) + 1]int64 }

// Observe counts a duration in milliseconds n times. Give the upper bound of a bucket of another
// histogram, and infinity for its last one.
func (h *Histogram) Observe(ms float64, n int64) { h.counts[bucketOf(ms)] += n }

func bucketOf(ms float64) int {
	i, _ := slices.BinarySearch(bounds[:], ms)
	return i
}

func (h *Histogram) add(o *Histogram, sign int64) {
	for i, n := range o.counts {
		h.counts[i] += sign * n
	}
}

// Counter is a Histogram that many goroutines fill. The zero value is empty.
type Counter struct{ counts [len(bounds) + 1]atomic.Int64 }

// Observe counts a duration.
func (c *Counter) Observe(d time.Duration) {
	c.counts[bucketOf(float64(d)/float64(time.Millisecond))].Add(1)
}

// Read returns what was counted so far.
func (c *Counter) Read() (h Histogram) {
	for i := range c.counts {
		h.counts[i] = c.counts[i].Load()
	}
	return h
}

// Count returns how many durations were counted.
func (h *Histogram) Count() (n int64) {
	for _, count := range h.counts {
		n += count
	}
	return n
}

// Quantile returns the duration that a share q of all, from 0 to 1, does not exceed. It is exact to
// the width of a bucket, in which it interpolates. It is 0 if nothing was counted, and the highest
// bound if the bucket has none.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := q * float64(h.Count())
	below := 0.0
	for i, count := range h.counts {
		n := float64(count)
		if n == 0 || below+n < rank {
			below += n
			continue
		}
		if i == len(bounds) {
			return millis(bounds[i-1])
		}
		low := 0.0
		if i > 0 {
			low = bounds[i-1]
		}
		return millis(low + (bounds[i]-low)*(rank-below)/n)
	}
	return 0
}

func millis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// inf is the bound of the last bucket in a text.
const inf = "inf"

// String returns the buckets that are not empty as "bound:count", separated by spaces. Stores keep
// this form: it is short, people can read it, and it does not depend on the list of bounds.
func (h *Histogram) String() string {
	var text []byte
	for i, n := range h.counts {
		if n == 0 {
			continue
		}
		if len(text) > 0 {
			text = append(text, ' ')
		}
		if i < len(bounds) {
			text = strconv.AppendFloat(text, bounds[i], 'f', -1, 64)
		} else {
			text = append(text, inf...)
		}
		text = strconv.AppendInt(append(text, ':'), n, 10)
	}
	return string(text)
}

// ParseHistogram reads the result of String. A bound that this release does not have is counted in
// the next higher bucket.
func ParseHistogram(text string) (h Histogram, err error) {
	for len(text) > 0 {
		var bucket string
		bucket, text, _ = strings.Cut(text, " ")
		bound, count, _ := strings.Cut(bucket, ":")
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil {
			return h, fmt.Errorf("bucket %q has no count", bucket)
		}
		ms, err := strconv.ParseFloat(bound, 64)
		if err != nil {
			return h, fmt.Errorf("bucket %q has no bound", bucket)
		}
		h.Observe(ms, n)
	}
	return h, nil
}
