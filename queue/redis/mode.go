package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

// Mode returns the mode that was set last, in any process; what another one sets is seen within a
// second while Redis answers.
func (q *Queue) Mode() control.Mode { return *q.mode.Load() }

// SetMode keeps the mode in Redis and then lets it take effect. After an error of Redis the mode
// may have been kept all the same; it then shows within a second.
func (q *Queue) SetMode(ctx context.Context, m control.Mode) error {
	if q.isClosed() {
		return hookgate.ErrClosed
	}
	if _, err := q.settle(ctx, "mode", string(m), "any"); err != nil {
		return fmt.Errorf("keep mode %s in redis: %w", m, err)
	}
	q.takeUp(m)
	return nil
}

// Canary returns the canary that was kept last, in any process; what another one keeps is seen
// within a second while Redis answers.
func (q *Queue) Canary() control.Canary { return *q.canary.Load() }

// SetCanary keeps a canary in Redis if it is newer than the one that is kept there.
// control.ErrCanaryChanged: it is not, and what Canary returns is taken up anew. After any other
// error it may have been kept all the same; the same call again is harmless.
func (q *Queue) SetCanary(ctx context.Context, c control.Canary) error {
	if q.isClosed() {
		return hookgate.ErrClosed
	}
	text, err := q.run(ctx, call{canaryScript, []string{q.keys.settings},
		[]string{strconv.FormatInt(c.Version, 10), c.String()}}).ToString()
	if err != nil {
		return fmt.Errorf("keep canary of %d percent in redis: %w", c.Percent, q.explain(ctx, err))
	}
	kept, err := control.ParseCanary(text)
	if err != nil {
		return fmt.Errorf("keep canary of %d percent in redis: %w", c.Percent, err)
	}
	q.canary.Store(&kept)
	if text != c.String() {
		return control.ErrCanaryChanged
	}
	return nil
}

// takeUp lets a mode take effect.
func (q *Queue) takeUp(m control.Mode) {
	q.telling.Lock()
	defer q.telling.Unlock()
	if before := q.mode.Swap(&m); (before == nil || *before != m) && q.opts.ModeChanged != nil {
		q.opts.ModeChanged(m)
	}
}

// settle sets a field of the settings and returns its value: in any case, or only if it is new.
func (q *Queue) settle(ctx context.Context, field, value, when string) (string, error) {
	text, err := q.run(ctx, call{settleScript, []string{q.keys.settings}, []string{field, value,
		when}}).ToString()
	return text, q.explain(ctx, err)
}

// readSettings takes up mode, canary and the generation of claims, and makes sure that the number
// of partitions is still that of this process.
func (q *Queue) readSettings(ctx context.Context) error {
	values, err := q.do(ctx, q.client.B().Hmget().Key(q.keys.settings).Field("mode", "partitions",
		"canary", "claims", "replaced").Build()).ToArray()
	if err == nil && len(values) != 5 {
		err = errors.New("the answer is malformed")
	}
	if err != nil {
		return fmt.Errorf("read settings: %w", q.explain(ctx, err))
	}
	mode := control.ModeNormal
	if text, err := values[0].ToString(); err == nil {
		if mode, err = control.ParseMode(text); err != nil {
			return fmt.Errorf("read settings: %w", err)
		}
	}
	q.takeUp(mode)
	text, _ := values[2].ToString() // nothing, if none was ever kept
	canary, err := control.ParseCanary(text)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	q.canary.Store(&canary)

	for field, to := range map[int]*atomic.Int64{3: &q.generation, 4: &q.replaced} {
		n := int64(0) // nothing was ever kept, or the database was emptied
		if text, err := values[field].ToString(); err == nil {
			if n, err = strconv.ParseInt(text, 10, 64); err != nil {
				return fmt.Errorf("read settings: %w", err)
			}
		}
		to.Store(n)
	}

	want := strconv.Itoa(q.opts.Partitions)
	have, err := values[1].ToString()
	if err != nil { // the database was emptied
		if have, err = q.settle(ctx, "partitions", want, "new"); err != nil {
			return fmt.Errorf("keep number of partitions: %w", err)
		}
	}
	if have == want {
		q.misfit.Store(nil)
		return nil
	}
	why := unfit(reasonPartitions,
		fmt.Errorf("queue %s has %s partitions in redis now and %s in this process, which must be restarted",
			q.opts.Prefix, have, want))
	if q.misfit.Swap(&why) == nil {
		q.opts.Logger.Error("deliveries are refused", "error", why)
	}
	return nil
}

// fixPartitions compares the number of partitions with that of the records in Redis.
func (q *Queue) fixPartitions(ctx context.Context) error {
	want := strconv.Itoa(q.opts.Partitions)
	have, err := q.settle(ctx, "partitions", want, "new")
	if err != nil || have == want {
		return err
	}
	n, err := strconv.Atoi(have)
	if err != nil || n < 1 {
		return unfit(reasonPartitions, fmt.Errorf("its number of partitions reads %q", have))
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
		return unfit(reasonPartitions,
			fmt.Errorf("it holds %d records on %d partitions, and the setting is %d:"+
				" set it back to %d until the queue is empty", waiting, n, q.opts.Partitions, n))
	}
	_, err = q.settle(ctx, "partitions", want, "any")
	return err
}
