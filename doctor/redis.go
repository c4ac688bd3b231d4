package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/hookgate/hookgate/queue/redis"
)

// Redis is the Redis of the queue.
type Redis struct {
	URL, Prefix string
	ClaimTTL    time.Duration
	// Rate is the expected number of webhooks per second; 0 means the rate so far.
	Rate float64
	// HighWater is the greatest number of queued records, RecordBytes their assumed size.
	HighWater, RecordBytes int64
}

const (
	// claimBytes is the memory of a claim if there is none to measure, on Redis 7 with unchanged
	// names.
	claimBytes = 184
	// leastMajor is the oldest version that works.
	leastMajor = 7
)

func (c Redis) examine(ctx context.Context, a area) error {
	nodes, err := redis.Inspect(ctx, redis.Config{URL: c.URL, Prefix: c.Prefix})
	if err != nil {
		return err
	}
	for i := range nodes {
		n, a := &nodes[i], a
		if len(nodes) > 1 {
			a.name += " " + n.Addr
		}
		c.version(a, n)
		c.persistence(a, n)
		c.memory(a, n, len(nodes))
		if n.Replicas > 0 {
			a.add(Warning, "replicas", strconv.Itoa(n.Replicas), "none, or a known risk",
				"Redis does not wait for them: a failover loses what they have not received yet")
		}
		a.skew(n.Skew, n.RoundTrip)
	}
	return nil
}

func (c Redis) version(a area, n *redis.Inspection) {
	major, _, _ := strings.Cut(n.Version, ".")
	if v, err := strconv.Atoi(major); err == nil && v < leastMajor {
		a.add(Warning, "version", n.Version, "7.0 or newer",
			"upgrade it: serve does not start with an older one")
		return
	}
	a.ok("version", n.Version)
}

func (c Redis) persistence(a area, n *redis.Inspection) {
	if n.Settings == nil {
		a.add(Unknown, "persistence", "CONFIG is hidden",
			"appendonly yes, appendfsync always or everysec, maxmemory-policy noeviction",
			"check these settings where Redis is configured")
		return
	}
	on, fsync := n.Settings["appendonly"], n.Settings["appendfsync"]
	switch {
	case on != "yes":
		a.add(LosesData, "appendonly", on, "yes",
			"CONFIG SET appendonly yes, and in redis.conf: a crash of Redis loses everything "+
				"acknowledged since its last snapshot")
	case fsync == "no":
		a.add(LosesData, "appendfsync", fsync, "always or everysec",
			"CONFIG SET appendfsync everysec, and in redis.conf: a crash of its machine loses "+
				"about 30 seconds")
	case fsync == "everysec":
		a.add(Advice, "appendfsync", fsync, "always",
			"everysec loses the last second if its machine crashes; always costs about half the "+
				"throughput")
	default:
		a.ok("appendfsync", fsync)
	}
	if policy := n.Settings["maxmemory-policy"]; policy != "noeviction" {
		a.add(LosesData, "maxmemory-policy", policy, "noeviction",
			"CONFIG SET maxmemory-policy noeviction, and in redis.conf:"+
				" when its memory is full, Redis deletes acknowledged webhooks")
	} else {
		a.ok("maxmemory-policy", policy)
	}
}

// memory compares the memory with the claims that will exist within queue.claim_ttl, and a full
// queue.
func (c Redis) memory(a area, n *redis.Inspection, nodes int) {
	each, how := n.ClaimBytes, "measured"
	if each == 0 {
		each, how = claimBytes, "estimated"
	}
	rate, from := c.Rate/float64(nodes), "--rate"
	if c.Rate == 0 {
		from = "as so far"
		rate = float64(n.Keys) / max(1, min(c.ClaimTTL, n.Uptime).Seconds())
	}
	claims := int64(rate*c.ClaimTTL.Seconds()) * each
	queue := c.HighWater / int64(nodes) * c.RecordBytes
	need := claims + queue
	what := "memory for claims"
	seen := fmt.Sprintf("%s for %.4g/s (%s) x %v x %d bytes (%s), and %s for a full queue",
		size(claims), rate, from, c.ClaimTTL, each, how, size(queue))
	limit, of := n.MaxMemory, "maxmemory"
	if limit == 0 {
		limit, of = n.SystemMemory, "the machine's memory"
	}
	want := fmt.Sprintf("less than %s, %s", size(limit), of)
	switch {
	case limit > 0 && need > limit:
		a.add(Warning, what, seen, want,
			"add memory, or set a shorter queue.claim_ttl or a smaller queue.high_water: without "+
				"room webhooks go to the spool, and then get 503")
	case limit > 0 && need > limit*8/10:
		a.add(Advice, what, seen, want,
			"little room is left: add memory, or shorten queue.claim_ttl")
	default:
		a.ok(what, seen)
	}
	if n.MaxMemory == 0 {
		a.add(Advice, "maxmemory", "no limit", "below the machine's memory",
			"CONFIG SET maxmemory: with a limit and noeviction Redis rejects writes,"+
				" and webhooks are spooled; without a limit the kernel may kill it")
	} else {
		a.ok("maxmemory", fmt.Sprintf("%s, %s used", size(n.MaxMemory), size(n.UsedMemory)))
	}
}

func size(bytes int64) string { return humanize.IBytes(uint64(max(0, bytes))) }
