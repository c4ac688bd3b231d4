package adminapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/evidence"
	"github.com/hookgate/hookgate/release/canary"
)

func (s *API) canaryNow() api.Canary {
	a := api.Canary{Percent: 100, Plan: []api.CanaryStep{}, Stored: true}
	a.Verdict.Fired = []string{}
	if s.canary == nil {
		return a
	}
	now := s.canary.Status()
	a.Configured, a.Upstream, a.Percent, a.By, a.Reason, a.Evidence = true, now.Upstream, now.Percent,
		now.By, now.Reason, now.Evidence
	a.Step, a.WatchedSeconds, a.Held, a.Stored = now.Step, now.Watched.Seconds(), now.Held, now.Stored
	if now.Version > 0 {
		at := api.At(now.At)
		a.At = &at
	}
	for _, step := range now.Plan {
		a.Plan = append(a.Plan, api.CanaryStep{Percent: step.Percent, Seconds: step.For.Seconds()})
	}
	a.Verdict.Fired = append(a.Verdict.Fired, now.Fired...)
	if now.Unknown != nil {
		a.Verdict.Unknown = now.Unknown.Error()
	}
	return a
}

func (s *API) showCanary(c *call) { c.json(s.canaryNow()) }

const wantCanary = `{"percent":N} with N from 0 to 100, {"plan":"start"} or {"plan":"back"}; the first two may have "evidence":"ID"`

// canaryWish is what somebody wants of the canary.
type canaryWish struct {
	start    bool
	percent  int // 0 is the way back
	evidence string
}

// parseCanary reads a body that must be of the form of wantCanary.
func parseCanary(body []byte) (w canaryWish, ok bool) {
	// a map, because the names of a struct's members would match in any case
	var members map[string]any
	if json.Unmarshal(body, &members) != nil {
		return w, false
	}
	percent, hasPercent := members["percent"]
	plan, hasPlan := members["plan"]
	id, hasEvidence := members["evidence"]
	known := 0
	for _, has := range []bool{hasPercent, hasPlan, hasEvidence} {
		if has {
			known++
		}
	}
	if len(members) != known || hasPercent == hasPlan {
		return w, false
	}
	if hasEvidence {
		if w.evidence, ok = id.(string); !ok || w.evidence == "" || len(w.evidence) > 64 {
			return w, false
		}
	}
	if hasPercent {
		n, isNumber := percent.(float64)
		w.percent = int(n)
		ok = isNumber && n == float64(w.percent) && w.percent >= 0 && w.percent <= 100
	} else {
		w.start = plan == "start"
		ok = w.start || plan == "back"
	}
	return w, ok && !(hasEvidence && !w.start && w.percent == 0)
}

// target describes the wish to people.
func (w canaryWish) target() string {
	text := fmt.Sprintf("%d percent", w.percent)
	if w.start {
		text = "plan start"
	} else if w.percent == 0 {
		text = "0 percent (back)"
	}
	if w.evidence != "" {
		text += ", evidence " + w.evidence
	}
	return text
}

// setCanary sets the percentage, starts the plan or goes back, which needs no approval.
func (s *API) setCanary(c *call) {
	body, err := c.body()
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	wish, ok := parseCanary(body)
	switch {
	case !ok:
		c.fail(http.StatusBadRequest, "body is not "+wantCanary)
		return
	case s.canary == nil:
		c.fail(http.StatusConflict, "there is no canary: set canary.upstream")
		return
	case !wish.start && wish.percent == 0:
		s.goBack(c, wish)
		return
	}
	action := approveCanary
	if wish.evidence != "" {
		if err := s.fitEvidence(c, wish.evidence); err != nil {
			c.canaryFailed(err)
			return
		}
		if slices.Contains(s.config.Approvals.Required, approvePromote) {
			action = approvePromote // else evidence would lift the approval that is wanted of every change
		}
	}
	why := canary.Change{By: c.actor.name, Reason: c.reason, Evidence: wish.evidence}
	check := func() error { return s.canary.CheckSet(wish.percent, why) }
	change := func() (control.Canary, error) {
		return s.canary.Set(c.request.Context(), wish.percent,
			why)
	}
	if wish.start {
		check = func() error { return s.canary.CheckStart(why) }
		change = func() (control.Canary, error) { return s.canary.Start(c.request.Context(), why) }
	}
	if err := check(); err != nil { // before an approval is used up for nothing
		c.canaryFailed(err)
		return
	}
	if !c.approved(action, wish.target()) || !c.begin(wish.target()) {
		return
	}
	_, err = change()
	if err != nil {
		if c.end(failedWith(err)) {
			c.canaryFailed(err)
		}
		return
	}
	if c.end(control.ResultDone) {
		c.json(s.canaryNow())
	}
}

// goBack goes back to 0, even while the admin trail cannot be written, as read_only is set: whoever
// is on call must be able to. The log and the answer then say that it is not recorded.
func (s *API) goBack(c *call, wish canaryWish) {
	recordErr := c.record(wish.target(), control.ResultBegun)
	_, err := s.canary.Set(c.request.Context(), 0, canary.Change{By: c.actor.name, Reason: c.reason})
	if err != nil {
		if recordErr == nil {
			c.failed("going back", err)
		} else {
			c.broken("going back", err)
		}
		return
	}
	if recordErr == nil {
		recordErr = c.record(wish.target(), control.ResultDone)
	}
	answer := s.canaryNow()
	if recordErr != nil {
		s.log.Error("the canary is back at 0 percent, and the admin trail does not have it", "request_id",
			c.requestID, "by", c.actor.name,
			"remote", c.request.RemoteAddr, "reason", c.reason, "error", recordErr)
		answer.Recorded = new(bool)
	}
	c.json(answer)
}

// unfitEvidence says why evidence does not let the canary begin.
type unfitEvidence string

func (e unfitEvidence) Error() string { return string(e) }

// futureClock is by how much the clock of who certified may be ahead.
const futureClock = 5 * time.Minute

// fitEvidence finds out whether evidence of the depot, which was verified when it was received,
// lets the canary begin: that it says PASS, of this version, and not too long ago.
func (s *API) fitEvidence(c *call, id string) error {
	_, v, err := s.intake.Find(c.request.Context(), id)
	age := time.Since(v.FinishedAt)
	switch {
	case errors.Is(err, evidence.ErrUnknown):
		return unfitEvidence("this process has received no evidence " + id +
			": hand it in with hookgate evidence submit, or use hookgate canary start --evidence")
	case err != nil:
		return err
	case v.Status != "PASS":
		return unfitEvidence(fmt.Sprintf("the verdict of evidence %s is %q, not PASS", id,
			printable(v.Status)))
	case v.Version != s.config.Version:
		return unfitEvidence(fmt.Sprintf("evidence %s is of version %q, and this is %q", id,
			printable(v.Version), s.config.Version))
	case v.FinishedAt.IsZero() || age < -futureClock:
		return unfitEvidence(fmt.Sprintf("evidence %s does not say when it was made, or names a time to come", id))
	case age > s.config.MaxEvidenceAge:
		return unfitEvidence(fmt.Sprintf("evidence %s was made %v ago, and may be %v old: certify again", id, age.Round(time.Second), s.config.MaxEvidenceAge))
	}
	return nil
}

// canaryFailed answers for a change that was not made.
func (c *call) canaryFailed(err error) {
	var refused canary.Refusal
	var unfit unfitEvidence
	switch {
	case errors.As(err, &refused), errors.As(err, &unfit), errors.Is(err, control.ErrCanaryChanged):
		c.fail(http.StatusConflict, err.Error())
	default:
		c.broken("changing the canary", err)
	}
}
