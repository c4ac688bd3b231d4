package entry

import "time"

// NextID returns the id that follows last: the microseconds since 1970, or last+1 if that is
// greater. So a store that was restored or starts empty does not reuse an id, and a reader that
// waits after a greater id misses nothing. The events of one transaction have one time, so their
// ids have no gaps. An id fits into a float64 until the year 2255.
func NextID(last int64, now time.Time) int64 { return max(last+1, now.UnixMicro()) }
