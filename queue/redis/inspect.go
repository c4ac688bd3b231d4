package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// Inspection describes one master.
type Inspection struct {
	Addr, Version string
	// Settings are those whose names begin with "append" or "maxmemory"; nil if the server hides them.
	Settings map[string]string
	// UsedMemory, MaxMemory (0 for no limit) and SystemMemory are in bytes.
	UsedMemory, MaxMemory, SystemMemory int64
	Uptime                              time.Duration
	// Replicas is the number of its replicas.
	Replicas int
	// Keys is the number of keys; most are claims. ClaimBytes is the mean size of some claims; 0 if
	// there are none.
	Keys, ClaimBytes int64
	// Skew is how far its clock is ahead of this machine's, plus or minus half a round trip.
	Skew, RoundTrip time.Duration
}

// claimSample is the number of claims that Inspect measures.
const claimSample = 100

// Inspect describes each master. It changes nothing.
func Inspect(ctx context.Context, c Config) ([]Inspection, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	o, err := c.clientOption()
	if err != nil {
		return nil, err
	}
	client, err := rueidis.NewClient(o)
	if err != nil {
		return nil, fmt.Errorf("connect to redis at %v: %w", o.InitAddress, err)
	}
	defer client.Close()
	var all []Inspection
	for addr, node := range client.Nodes() {
		info, err := node.Do(ctx, node.B().Arbitrary("INFO").Build()).ToString()
		if err != nil {
			return nil, fmt.Errorf("INFO of redis at %s: %w", addr, err)
		}
		if infoField(info, "role") == "slave" {
			continue
		}
		i, err := inspect(ctx, node, info, c.Prefix)
		if err != nil {
			return nil, fmt.Errorf("inspect redis at %s: %w", addr, err)
		}
		i.Addr = addr
		all = append(all, i)
	}
	if len(all) == 0 {
		return nil, errors.New("no master among its nodes")
	}
	return all, nil
}

func inspect(ctx context.Context, node rueidis.Client, info, prefix string) (i Inspection,
	err error) {
	number := func(field string) int64 {
		n, _ := strconv.ParseInt(infoField(info, field), 10, 64) // 0 if INFO lacks it
		return n
	}
	i = Inspection{
		Version: infoField(info, "redis_version"), UsedMemory: number("used_memory"),
		MaxMemory:    number("maxmemory"),
		SystemMemory: number("total_system_memory"),
		Uptime:       time.Duration(number("uptime_in_seconds")) * time.Second,
		Replicas:     int(number("connected_slaves")),
	}
	if i.Settings, err = nodeSettings(ctx, node); err != nil {
		return i, err
	}
	if i.Keys, err = node.Do(ctx, node.B().Dbsize().Build()).AsInt64(); err != nil {
		return i, err
	}
	if i.ClaimBytes, err = claimBytes(ctx, node, prefix); err != nil {
		return i, err
	}
	sent := time.Now()
	parts, err := node.Do(ctx, node.B().Time().Build()).AsIntSlice()
	i.RoundTrip = time.Since(sent)
	if err != nil || len(parts) != 2 {
		return i, errors.Join(err, errors.New("the answer to TIME is malformed"))
	}
	i.Skew = time.Unix(parts[0], parts[1]*1000).Sub(sent.Add(i.RoundTrip / 2))
	return i, nil
}

// claimBytes returns the mean size of some claims; 0 if there are none or the user may not measure
// them.
func claimBytes(ctx context.Context, node rueidis.Client, prefix string) (int64, error) {
	var sum, n int64
	for cursor, first := uint64(0), true; n < claimSample && (first || cursor != 0); first = false {
		page, err := node.Do(ctx, node.B().Scan().Cursor(cursor).Match(prefix+
			":{*}:claim:*").Count(claimSample).Build()).AsScanEntry()
		if err != nil {
			return 0, err
		}
		if cursor = page.Cursor; n == 0 && len(page.Elements) == 0 && !first {
			return 0, nil // two pages without a claim: going on could mean reading every key
		}
		for _, key := range page.Elements[:min(len(page.Elements), claimSample)] {
			bytes, err := node.Do(ctx, node.B().MemoryUsage().Key(key).Build()).AsInt64()
			switch _, refused := rueidis.IsRedisErr(err); {
			case rueidis.IsRedisNil(err):
				continue // it has expired
			case refused:
				return 0, nil
			case err != nil:
				return 0, err
			}
			sum += bytes
			n++
		}
	}
	if n == 0 {
		return 0, nil
	}
	return sum / n, nil
}
