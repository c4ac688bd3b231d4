package adminapi

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// maxRate is the greatest rate of a redelivery job, in deliveries per second.
const maxRate = 1_000_000

// redelivery is the body of a call that delivers events again.
type redelivery struct {
	// from and to bound the events by id or time. Without to, the job ends at the cursor.
	from, to hookgate.Start
	job      hookgate.RedeliveryJob
	dryRun   bool
}

// readRedelivery reads the body of a call that delivers events again. An error is for the caller.
func readRedelivery(c *call) (r redelivery, err error) {
	members, err := readLargeObject(c, maxIDsBody, "ids", "from", "to", "sources", "types", "key",
		"rate", "dryRun")
	if err != nil {
		return r, err
	}
	var ids []string
	var from, to string
	filter := &r.job.Filter
	if err := errors.Join(
		readMember(members, "ids", "a list of event ids", &ids),
		readMember(members, "from", "an event id, a time, or beginning", &from),
		readMember(members, "to", "an event id, or a time", &to),
		readMember(members, "sources", "a list of sources", &filter.Sources),
		readMember(members, "types", "a list of event types", &filter.Types),
		readMember(members, "key", "an ordering key", &r.job.OrderingKey),
		readMember(members, "rate", "deliveries per second", &r.job.Rate),
		readMember(members, "dryRun", "true or false", &r.dryRun),
	); err != nil {
		return r, err
	}
	if r.job.Events, err = parseIDs(ids); err != nil {
		return r, err
	}
	filtered := to != "" || r.job.OrderingKey != "" || len(filter.Sources)+len(filter.Types) > 0
	switch {
	case (len(ids) > 0) == (from != ""):
		return r, errors.New(`body must have either "ids" or "from"`)
	case len(ids) > 0 && filtered:
		return r, errors.New(`"to", "sources", "types" and "key" go with "from", not with "ids"`)
	case r.job.Rate < 0 || r.job.Rate > maxRate:
		return r, fmt.Errorf("member rate must be from 0 to %d deliveries per second", maxRate)
	}
	if len(ids) > 0 {
		return r, nil
	}
	var known bool
	if r.from, known = parsePlaceInLog(from); !known || r.from.At == hookgate.StartNow {
		return r, errors.New("member from must be an event id, a time such as 2026-11-23T12:00:00Z," +
			" or beginning")
	}
	r.to = hookgate.Start{At: hookgate.StartNow}
	if to == "" {
		return r, nil
	}
	if r.to, known = parsePlaceInLog(to); !known || r.to.At == hookgate.StartBeginning {
		return r, errors.New("member to must be an event id, or a time such as 2026-11-23T12:00:00Z")
	}
	return r, nil
}

// place sets the ids that the job covers. Events after the cursor are left out, because they are
// delivered anyway. An error of place is one of Seek.
func (s *API) place(c *call, r *redelivery, info *hookgate.SubscriptionInfo) error {
	if len(r.job.Events) > 0 {
		return nil
	}
	// A dry run of a seek tells which id stands for a time or for the beginning.
	find := func(at hookgate.Start) (int64, error) {
		result, err := s.control.Seek(c.request.Context(), info.Name, at, true, c.person())
		return result.To, err
	}
	var err error
	if r.from.At == hookgate.StartAfter {
		r.from.After = max(0, r.from.After-1) // the event itself is part of the job
	}
	if r.job.After, err = find(r.from); err != nil {
		return err
	}
	r.job.Until = info.Cursor
	switch r.to.At {
	case hookgate.StartAfter:
		r.job.Until = min(r.job.Until, r.to.After)
	case hookgate.StartTime:
		until, err := find(r.to)
		if err != nil {
			return err
		}
		r.job.Until = min(r.job.Until, until)
	}
	return nil
}

// describe describes a job, for the admin trail.
func (r *redelivery) describe(name string) string {
	parts := []string{name}
	if len(r.job.Events) > 0 {
		parts = append(parts, "events="+joinIDs(r.job.Events))
	} else {
		parts = append(parts, fmt.Sprintf("after %d until %d", r.job.After, r.job.Until))
	}
	for _, list := range []struct {
		name   string
		values []string
	}{{"sources", r.job.Filter.Sources}, {"types", r.job.Filter.Types}} {
		if len(list.values) > 0 {
			parts = append(parts, list.name+"="+strings.Join(list.values, ","))
		}
	}
	if r.job.OrderingKey != "" {
		parts = append(parts, "key="+strconv.Quote(r.job.OrderingKey))
	}
	return cut(strings.Join(parts, " "))
}

// redeliver stores a job that delivers events again.
func (s *API) redeliver(c *call) {
	info, ok := s.findSubscription(c)
	if !ok {
		return
	}
	r, err := readRedelivery(c)
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	if err := s.place(c, &r, &info); err != nil {
		c.dryRunDone("finding the events", err)
		return
	}
	if len(r.job.Events) == 0 && r.job.Until <= r.job.After {
		c.fail(http.StatusBadRequest, fmt.Sprintf("there is nothing to deliver again from %d to %d;"+
			" what is after the cursor, %d, is delivered anyway", r.job.After+1, r.job.Until, info.Cursor))
		return
	}
	if r.dryRun {
		job, n, err := s.control.Redeliver(c.request.Context(), info.Name, r.job, true, c.person())
		if c.dryRunDone("trying the redelivery", err) {
			job.ID = 0
			c.json(api.Redelivery{Events: n, DryRun: true, Job: jobOf(&job)})
		}
		return
	}
	if !c.begin(r.describe(info.Name)) {
		return
	}
	ctx, cancel := c.changing()
	defer cancel()
	job, n, err := s.control.Redeliver(ctx, info.Name, r.job, false, c.person())
	if s.changedSubscription(c, "storing the redelivery job",
		fmt.Sprintf(": job %d of %d events", job.ID, n), err) {
		c.jsonStatus(http.StatusCreated, api.Redelivery{Events: n, Job: jobOf(&job)})
	}
}

// cancelJob ends a redelivery job.
func (s *API) cancelJob(c *call) {
	info, ok := s.findSubscription(c)
	if !ok || !c.noMembers() {
		return
	}
	job, ok := s.findJob(c, info.Name)
	if !ok || !c.begin(fmt.Sprintf("%s job %d", info.Name, job.ID)) {
		return
	}
	ctx, cancel := c.changing()
	defer cancel()
	cancelled, err := s.control.CancelJob(ctx, info.Name, job.ID, c.person())
	if err == nil && !cancelled {
		if c.end("failed: it has ended before") {
			c.fail(http.StatusConflict, fmt.Sprintf("redelivery job %d has ended before", job.ID))
		}
		return
	}
	if s.changedSubscription(c, "cancelling the redelivery job", "", err) {
		if job, ok = s.findJob(c, info.Name); ok {
			c.json(jobOf(&job))
		}
	}
}
