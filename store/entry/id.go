package entry

import "time"

// NextID returns the id that follows last: the microseconds since 1970, or last+1 if that is
// greater. So a store that was restored, or starts empty, does not give out an id that it gave out
// before, and a reader behind a greater id misses nothing. The events of one transaction, which
// have one time, get ids without gaps. An id fits into a float64 until the year 2255.
func NextID(last int64, now time.Time) int64 { return max(last+1, now.UnixMicro()) }
