package deliver

import (
	"context"
	"slices"
	"time"

	"github.com/hookgate/hookgate"
)

// job is the redelivery job that the runner works on. Its items take the slots of their keys, and
// their failures hold nobody.
type job struct {
	hookgate.RedeliveryJob
	// read is the id up to which events have been read, and ended that there are no more.
	read    int64
	reading bool
	ended   bool
	again   time.Time // after an error
	ring    ring
	wait    time.Time // when the next attempt may begin
	// cancelled reports that a person has cancelled the job.
	cancelled bool
}

// setJobs takes the list of the jobs that are not finished.
func (r *runner) setJobs(jobs []hookgate.RedeliveryJob) {
	r.jobs = slices.DeleteFunc(jobs, func(j hookgate.RedeliveryJob) bool {
		return r.pending.Jobs[j.ID].Done
	})
	for i := range r.jobs {
		if p, changed := r.pending.Jobs[r.jobs[i].ID]; changed {
			r.jobs[i].Position, r.jobs[i].Delivered, r.jobs[i].Failed = p.Position, p.Delivered, p.Failed
		}
	}
	if r.job == nil {
		return
	}
	for _, j := range r.jobs {
		if j.ID == r.job.ID {
			return
		}
	}
	r.job.cancelled = true
	r.extra = slices.DeleteFunc(r.extra,
		func(it *item) bool { return it.job == r.job && !it.excepted })
	r.job = nil
}

// fillJob reads events for the oldest job.
func (r *runner) fillJob(ctx context.Context) {
	if r.job == nil && len(r.jobs) > 0 {
		r.job = &job{RedeliveryJob: r.jobs[0], read: max(r.jobs[0].Position, r.jobs[0].After)}
	}
	j := r.job
	if j == nil || j.reading || r.idle() || r.blocked || time.Now().Before(j.again) {
		return
	}
	if j.ended {
		if j.ring.len() == 0 {
			r.pending.Jobs[j.ID] = hookgate.JobProgress{ID: j.ID, Position: j.read, Delivered: j.Delivered,
				Failed: j.Failed, Done: true}
			r.jobs = slices.DeleteFunc(r.jobs,
				func(o hookgate.RedeliveryJob) bool { return o.ID == j.ID })
			r.job = nil
		}
		return
	}
	if j.ring.len() > r.concurrency {
		return
	}
	j.reading = true
	read := j.read
	r.call(ctx, func(ctx context.Context) func() {
		events, next, ended, err := ReadJob(ctx, r.d.log, &j.RedeliveryJob,
			&r.sub.Definition.Filter, read, keyPage, keyBytes)
		return func() { r.hasJobPage(j, events, next, ended, err) }
	})
}

// ReadJob reads the next events of a redelivery job after an id, those that the filter of the
// subscription selects. next is the id up to which they are complete, and ended reports that no
// event of the job follows.
func ReadJob(ctx context.Context, log hookgate.Log, j *hookgate.RedeliveryJob,
	f *hookgate.Filter, after int64, max, maxBytes int) (events []hookgate.Event, next int64,
	ended bool, err error) {
	if len(j.Events) > 0 {
		ids := slices.Sorted(slices.Values(j.Events))
		i, _ := slices.BinarySearch(ids, after+1)
		n := min(len(ids)-i, max)
		if n == 0 {
			return nil, after, true, nil
		}
		events, err = log.ReadEvents(ctx, ids[i:i+n])
		return events, ids[i+n-1], i+n == len(ids), err
	}
	page, err := log.ReadLog(ctx, hookgate.LogQuery{After: after, Until: j.Until,
		OrderingKey: j.OrderingKey, Max: max, MaxBytes: maxBytes})
	events = slices.DeleteFunc(page.Events, func(e hookgate.Event) bool {
		return !j.Filter.Match(e.Source, e.EventType) || !f.Match(e.Source, e.EventType)
	})
	return events, page.Next, !page.More || page.Next >= j.Until, err
}

// hasJobPage queues the events of a page.
func (r *runner) hasJobPage(j *job, events []hookgate.Event, next int64, ended bool, err error) {
	j.reading = false
	if j.cancelled {
		return
	}
	if err != nil {
		j.again = time.Now().Add(storeRetry.Max)
		r.readAgain = j.again // wakes the runner
		r.d.config.Logger.Warn("cannot read events to deliver again", "subscription", r.name, "job", j.ID,
			"error", err)
		return
	}
	for i := range events {
		e := &events[i]
		it := &item{event: e, redelivery: j.Redelivery, job: j, number: -1}
		it.jobNumber = j.ring.push(e.ID, it)
		r.extra = append(r.extra, it)
	}
	j.read, j.ended = next, ended
}

// begun notes that an attempt of the job has begun, and when the next one may begin.
func (j *job) begun(now time.Time) {
	if j.Rate > 0 {
		j.wait = now.Add(time.Second / time.Duration(j.Rate))
	}
}

// jobWait returns how long the job must wait for its rate; 0 if it does not.
func (r *runner) jobWait(now time.Time) time.Duration {
	if r.job == nil || len(r.extra) == 0 {
		return 0
	}
	return max(0, r.job.wait.Sub(now))
}

// jobProgress records that the job is done with an item: it was delivered, or it has become an
// exception.
func (r *runner) jobProgress(it *item, delivered bool) {
	j := it.job
	it.job = nil
	j.ring.done(it.jobNumber)
	if delivered {
		j.Delivered++
	} else {
		j.Failed++
	}
	if !j.cancelled {
		r.pending.Jobs[j.ID] = hookgate.JobProgress{ID: j.ID, Position: j.ring.cursor(j.read),
			Delivered: j.Delivered, Failed: j.Failed}
	}
}
