package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/hookgate/hookgate"
)

// Settings returns all fields of the settings in Redis. With SwapSetting it implements
// settings.Table, in which the gate keeps mode and canary.
func (q *Queue) Settings(ctx context.Context) (map[string]string, error) {
	if q.isClosed() {
		return nil, hookgate.ErrClosed
	}
	values, err := q.do(ctx, q.client.B().Hgetall().Key(q.keys.settings).Build()).AsStrMap()
	if err != nil {
		return nil, fmt.Errorf("read settings in redis: %w", q.explain(ctx, err))
	}
	return values, nil
}

// SwapSetting sets a field of the settings if its value is before; an empty before means that there
// is none. It returns false if the field has another value. After an error the outcome is unknown.
func (q *Queue) SwapSetting(ctx context.Context, name, before, after string) (bool, error) {
	if q.isClosed() {
		return false, hookgate.ErrClosed
	}
	swapped, err := q.run(ctx, call{swapScript, []string{q.keys.settings},
		[]string{name, before, after}}).AsBool()
	if err != nil {
		return false, fmt.Errorf("set %s in redis: %w", name, q.explain(ctx, err))
	}
	return swapped, nil
}

// swapScript: KEYS settings; ARGV field, value before, value after -> 1, or 0 if the field has
// another value.
var swapScript = newScript("allow-oom", `
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
`)

// setField sets a field of the settings and returns its value afterwards. With fieldIfNew it leaves
// a field that exists as it is.
func (q *Queue) setField(ctx context.Context, field, value, when string) (string, error) {
	text, err := q.run(ctx, call{setFieldScript, []string{q.keys.settings}, []string{field, value,
		when}}).ToString()
	return text, q.explain(ctx, err)
}

// The last argument of setField.
const (
	fieldIfNew  = "new"
	fieldAlways = "any"
)

// setFieldScript: KEYS settings; ARGV field, value, fieldIfNew or fieldAlways -> the value now.
var setFieldScript = newScript("allow-oom", `
if ARGV[3] == 'any' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
else
  redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
end
return redis.call('HGET', KEYS[1], ARGV[1])
`)

// readSettings reads the generation of claims, and checks that Redis still has this process's
// number of partitions.
func (q *Queue) readSettings(ctx context.Context) error {
	values, err := q.do(ctx, q.client.B().Hmget().Key(q.keys.settings).Field("partitions", "claims",
		"replaced").Build()).ToArray()
	if err == nil && len(values) != 3 {
		err = errors.New("the answer is malformed")
	}
	if err != nil {
		return fmt.Errorf("read settings in redis: %w", q.explain(ctx, err))
	}
	for field, to := range map[int]*atomic.Int64{1: &q.generation, 2: &q.replaced} {
		n := int64(0) // no store was ever replaced, or the database was emptied
		if text, err := values[field].ToString(); err == nil {
			if n, err = strconv.ParseInt(text, 10, 64); err != nil {
				return fmt.Errorf("read settings in redis: %w", err)
			}
		}
		to.Store(n)
	}
	want := strconv.Itoa(q.opts.Partitions)
	have, err := values[0].ToString()
	if err != nil { // the database was emptied
		if have, err = q.setField(ctx, "partitions", want, fieldIfNew); err != nil {
			return fmt.Errorf("set number of partitions in redis: %w", err)
		}
	}
	if have == want {
		q.misconfigured.Store(nil)
		return nil
	}
	why := misconfigured(reasonPartitions,
		fmt.Errorf("queue %s has %s partitions in redis now and %s in this process; restart the process",
			q.opts.Prefix, have, want))
	if q.misconfigured.Swap(&why) == nil {
		q.opts.Logger.Error("requests are rejected", "error", why)
	}
	return nil
}

// fixPartitions compares the number of partitions with that of the records in Redis. It changes the
// number in Redis only while there are no records.
func (q *Queue) fixPartitions(ctx context.Context) error {
	want := strconv.Itoa(q.opts.Partitions)
	have, err := q.setField(ctx, "partitions", want, fieldIfNew)
	if err != nil || have == want {
		return err
	}
	n, err := strconv.Atoi(have)
	if err != nil || n < 1 {
		return misconfigured(reasonPartitions, fmt.Errorf("its number of partitions reads %q", have))
	}
	waiting := int64(0)
	for _, log := range newKeys(q.opts.Prefix, n).log {
		records, err := q.do(ctx, q.client.B().Xlen().Key(log).Build()).ToInt64()
		if err != nil {
			return fmt.Errorf("count %s: %w", log, err)
		}
		waiting += records
	}
	if waiting > 0 {
		return misconfigured(reasonPartitions,
			fmt.Errorf("it holds %d records on %d partitions, and the setting is %d:"+
				" set it back to %d until the queue is empty", waiting, n, q.opts.Partitions, n))
	}
	_, err = q.setField(ctx, "partitions", want, fieldAlways)
	return err
}
