package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// person returns the caller of a change of a subscription, with the reason.
func (c *call) person() hookgate.Person {
	return hookgate.Person{By: c.actor.name, Reason: c.reason}
}

// changing returns the context of a change, which goes on although the client is gone.
func (c *call) changing() (context.Context, context.CancelFunc) {
	http.NewResponseController(c).SetWriteDeadline(time.Now().Add(subscriptionTimeout +
		c.server.config.WriteTimeout))
	return context.WithTimeout(context.WithoutCancel(c.request.Context()), subscriptionTimeout)
}

// changedSubscription ends a change of a subscription that has begun, and wakes its owner. If it
// returns false, the call is answered.
func (s *API) changedSubscription(c *call, doing, result string, err error) bool {
	status, text := subscriptionError(err)
	switch {
	case err == nil:
		if s.wake != nil {
			s.wake()
		}
		return c.end(cut(control.ResultDone + result))
	case status == 0:
		c.failed(doing, err)
	case c.end(failedWith(errors.New(text))):
		c.failSubscription(status, text, err)
	}
	return false
}

// subscriptionError returns the status and the text for an error that is the caller's; 0 for any
// other.
func subscriptionError(err error) (status int, text string) {
	var horizon *hookgate.HorizonError
	var ahead *hookgate.AheadError
	switch {
	case errors.As(err, &horizon):
		return http.StatusGone, err.Error() + "; begin at a later event, or at the beginning of what" +
			" is stored"
	case errors.As(err, &ahead):
		return http.StatusConflict, err.Error() + ", before that place"
	case errors.Is(err, hookgate.ErrLeasesOut):
		return http.StatusConflict, "clients lease events of the subscription again and again: pause it" +
			" first"
	case errors.Is(err, hookgate.ErrNameTaken):
		return http.StatusConflict, hookgate.ErrNameTaken.Error()
	case errors.Is(err, hookgate.ErrInUse):
		return http.StatusConflict, hookgate.ErrInUse.Error()
	case errors.Is(err, hookgate.ErrNotFound):
		return http.StatusNotFound, "somebody has removed the subscription meanwhile"
	}
	return 0, ""
}

// failSubscription answers an error of subscriptionError.
func (c *call) failSubscription(status int, text string, err error) {
	answer := api.ErrorAnswer{Status: "error", Error: text, RequestID: c.requestID}
	var horizon *hookgate.HorizonError
	if errors.As(err, &horizon) {
		answer.Horizon = api.EventID(horizon.Horizon)
	}
	c.jsonStatus(status, answer)
}

// unchanged marks a call that changes nothing, because it asks for a dry run: it needs no row in
// the admin trail.
func (c *call) unchanged() { c.recorded = true }

// noMembers rejects a body. If it returns false, the call is answered.
func (c *call) noMembers() bool {
	if _, err := readObject(c); err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return false
	}
	return true
}

// pauseSubscription pauses a subscription.
func (s *API) pauseSubscription(c *call) { s.setPaused(c, true) }

// resumeSubscription lets a subscription go on.
func (s *API) resumeSubscription(c *call) { s.setPaused(c, false) }

func (s *API) setPaused(c *call, paused bool) {
	info, ok := s.findSubscription(c)
	if !ok || !c.noMembers() || !c.begin(info.Name) {
		return
	}
	ctx, cancel := c.changing()
	defer cancel()
	changed, err := s.control.SetPaused(ctx, info.Name, paused, c.person())
	doing, result := "resuming the subscription", ""
	if paused {
		doing = "pausing the subscription"
	}
	if err == nil && !changed {
		result = ": it was so before"
	}
	if s.changedSubscription(c, doing, result, err) {
		c.json(api.PausedSubscription{Name: info.Name, Paused: paused, Changed: changed})
	}
}

// forgetSubscription removes a subscription with its state.
func (s *API) forgetSubscription(c *call) {
	info, ok := s.findSubscription(c)
	if !ok || !c.mayForget(&info) || !c.noMembers() {
		return
	}
	target := fmt.Sprintf("%s (cursor %d, %d waiting, %d parked, %d dead)", info.Name, info.Cursor,
		info.Waiting, info.Parked, info.Dead)
	if !c.begin(cut(target)) {
		return
	}
	ctx, cancel := c.changing()
	defer cancel()
	err := s.control.Forget(ctx, info.Name, c.person())
	if s.changedSubscription(c, "forgetting the subscription", "", err) {
		c.json(api.ForgottenSubscription{Name: info.Name})
	}
}

// seekSubscription moves the cursor of a subscription.
func (s *API) seekSubscription(c *call) {
	info, ok := s.findSubscription(c)
	if !ok {
		return
	}
	var to string
	var dryRun bool
	members, err := readObject(c, "to", "dryRun")
	if err == nil {
		err = errors.Join(
			readMember(members, "to", "now, beginning, a time, or the id of an event", &to),
			readMember(members, "dryRun", "true or false", &dryRun))
	}
	start, known := parsePlaceInLog(to)
	if err == nil && !known {
		err = errors.New("member to must be now, beginning, a time such as 2026-11-23T12:00:00Z," +
			" or the id of the event to continue after")
	}
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	if dryRun {
		result, err := s.control.Seek(c.request.Context(), info.Name, start, true, c.person())
		if c.dryRunDone("trying the seek", err) {
			c.json(soughtOf(&result, true))
		}
		return
	}
	target := info.Name + " to " + placeText(start)
	if !c.approved(approveSeek, target) || !c.begin(target) {
		return
	}
	ctx, cancel := c.changing()
	defer cancel()
	result, err := s.seek(ctx, info.Name, start, c.person())
	if s.changedSubscription(c, "moving the cursor", fmt.Sprintf(": from %d to %d, %d skipped, %d"+
		" deleted", result.From, result.To, result.Skipped, result.Deleted), err) {
		c.json(soughtOf(&result, false))
	}
}

// dryRunDone answers an error of a dry run and returns false, or returns true if err is nil.
func (c *call) dryRunDone(doing string, err error) bool {
	c.unchanged()
	switch status, text := subscriptionError(err); {
	case err == nil:
		return true
	case status != 0:
		c.failSubscription(status, text, err)
	default:
		c.unavailable(doing, err)
	}
	return false
}

func soughtOf(r *hookgate.SeekResult, dryRun bool) api.Sought {
	return api.Sought{From: api.EventID(r.From), To: api.EventID(r.To), Events: r.Events,
		Skipped: r.Skipped, Deleted: r.Deleted, Redelivery: r.Redelivery, DryRun: dryRun}
}

// parsePlaceInLog reads now, beginning, a time, or an event id.
func parsePlaceInLog(text string) (hookgate.Start, bool) {
	switch hookgate.StartAt(text) {
	case hookgate.StartNow, hookgate.StartBeginning:
		return hookgate.Start{At: hookgate.StartAt(text)}, true
	}
	if id, err := parseEventID(text); err == nil {
		return hookgate.Start{At: hookgate.StartAfter, After: id}, true
	}
	at, err := time.Parse(time.RFC3339, text)
	return hookgate.Start{At: hookgate.StartTime, Time: at}, err == nil
}

// placeText is the text that parsePlaceInLog reads, the same for equal places.
func placeText(s hookgate.Start) string {
	switch s.At {
	case hookgate.StartTime:
		return api.At(s.Time).String()
	case hookgate.StartAfter:
		return api.EventID(s.After)
	}
	return string(s.At)
}
