package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
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

// wantCanary describes the body of POST /admin/canary.
const wantCanary = `{"percent":N} with N from 0 to 100, {"plan":"start"} or {"plan":"back"};` +
	` the first two may have "evidence":"ID", and with it "unproven":true`

// canaryChange is a change of the canary that a caller asks for.
type canaryChange struct {
	start    bool
	percent  int // 0: back to the upstream
	evidence string
	// unproven accepts evidence although no public keys are configured.
	unproven bool
}

// parseCanary reads a body that must have the form of wantCanary.
func parseCanary(body []byte) (w canaryChange, ok bool) {
	// A struct would match names in any case.
	var members map[string]any
	if json.Unmarshal(body, &members) != nil {
		return w, false
	}
	percent, hasPercent := members["percent"]
	plan, hasPlan := members["plan"]
	id, hasEvidence := members["evidence"]
	unproven, hasUnproven := members["unproven"]
	known := 0
	for _, has := range []bool{hasPercent, hasPlan, hasEvidence, hasUnproven} {
		if has {
			known++
		}
	}
	if len(members) != known || hasPercent == hasPlan || hasUnproven && !hasEvidence {
		return w, false
	}
	if hasUnproven {
		if w.unproven, ok = unproven.(bool); !ok {
			return w, false
		}
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

// target describes the change for the admin trail.
func (w canaryChange) target() string {
	text := fmt.Sprintf("%d percent", w.percent)
	if w.start {
		text = "plan start"
	} else if w.percent == 0 {
		text = "0 percent (back)"
	}
	if w.evidence != "" {
		text += ", evidence " + w.evidence
	}
	if w.unproven {
		text += ", signer not proven"
	}
	return text
}

// setCanary sets the percentage, starts the plan, or goes back to 0, which needs no approval.
func (s *API) setCanary(c *call) {
	body, err := c.body()
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	asked, ok := parseCanary(body)
	switch {
	case !ok:
		c.fail(http.StatusBadRequest, "body must be "+wantCanary)
		return
	case s.canary == nil:
		c.fail(http.StatusConflict, "the canary is not configured: set canary.upstream")
		return
	case !asked.start && asked.percent == 0:
		s.goBack(c, asked)
		return
	}
	action := approveCanary
	if asked.evidence != "" {
		if err := s.checkEvidence(c, &asked); err != nil {
			c.canaryFailed(err)
			return
		}
		if slices.Contains(s.config.Approvals.Required, approvePromote) {
			action = approvePromote // evidence does not replace an approval
		}
	}
	why := canary.Change{By: c.actor.name, Reason: c.reason, Evidence: asked.evidence}
	check := func() error { return s.canary.CheckSet(asked.percent, why) }
	change := func() (control.Canary, error) {
		return s.canary.Set(c.request.Context(), asked.percent,
			why)
	}
	if asked.start {
		check = func() error { return s.canary.CheckStart(why) }
		change = func() (control.Canary, error) { return s.canary.Start(c.request.Context(), why) }
	}
	if err := check(); err != nil { // before it uses up an approval
		c.canaryFailed(err)
		return
	}
	if !c.approved(action, asked.target()) || !c.begin(asked.target()) {
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

// goBack sets the canary to 0 percent even if the admin trail cannot be written, because the person
// on call must be able to do so. The log and the answer then say that it is not recorded.
func (s *API) goBack(c *call, asked canaryChange) {
	recordErr := c.record(asked.target(), control.ResultBegun)
	_, err := s.canary.Set(c.request.Context(), 0, canary.Change{By: c.actor.name, Reason: c.reason})
	if err != nil {
		if recordErr == nil {
			c.failed("going back", err)
		} else {
			c.unavailable("going back", err)
		}
		return
	}
	if recordErr == nil {
		recordErr = c.record(asked.target(), control.ResultDone)
	}
	answer := s.canaryNow()
	if recordErr != nil {
		s.log.Error("the canary is back at 0 percent, but the admin trail could not be written",
			"request_id",
			c.requestID, "by", c.actor.name,
			"remote", c.request.RemoteAddr, "reason", c.reason, "error", recordErr)
		answer.Recorded = new(bool)
	}
	c.json(answer)
}

// unusableEvidence is the reason why evidence does not let the canary start.
type unusableEvidence string

func (e unusableEvidence) Error() string { return string(e) }

// futureClock is how far ahead the clock of the machine that certified may be.
const futureClock = 5 * time.Minute

// checkEvidence checks that evidence, which the depot verified when it received it, lets the canary
// start: a known key signed it, it says PASS, is of this gate and this version, shows what
// evidence.phases and evidence.profile demand, and is not too old.
func (s *API) checkEvidence(c *call, asked *canaryChange) error {
	id := asked.evidence
	r, v, err := s.intake.Find(c.request.Context(), id)
	age := time.Since(v.FinishedAt)
	switch {
	case errors.Is(err, evidence.ErrUnknown):
		return unusableEvidence("this process has received no evidence " + id +
			": hand it in with hookgate evidence submit, or use hookgate canary start --evidence")
	case err != nil:
		return err
	case v.Status != "PASS":
		return unusableEvidence(fmt.Sprintf("the verdict of evidence %s is %q, not PASS", id,
			printable(v.Status)))
	case v.Version != s.config.Version:
		return unusableEvidence(fmt.Sprintf("evidence %s is of version %q, but this gate is %q", id,
			printable(v.Version), s.config.Version))
	case v.Lacking != "":
		return unusableEvidence(fmt.Sprintf("evidence %s is not enough: %s", id, printable(v.Lacking)))
	case !r.Known && !asked.unproven:
		return unusableEvidence(fmt.Sprintf("nothing is proven about who made evidence %s: set"+
			" evidence.public_keys, or accept it unproven (hookgate canary --accept-unproven)", id))
	case v.FinishedAt.IsZero() || age < -futureClock:
		return unusableEvidence(fmt.Sprintf("evidence %s has no time, or one in the future", id))
	case age > s.config.MaxEvidenceAge:
		return unusableEvidence(fmt.Sprintf("evidence %s is %v old, and the limit is %v: certify again",
			id, age.Round(time.Second), s.config.MaxEvidenceAge))
	}
	asked.unproven = !r.Known // the admin trail says so only if it is
	return s.checkOwnEvidence(c, id, v)
}

// checkOwnEvidence checks that evidence is of this gate: its certification made tokens, which every
// gate remembers for good, in the store of this one.
func (s *API) checkOwnEvidence(c *call, id string, v evidence.Verdict) error {
	ctx, cancel := context.WithTimeout(c.request.Context(), accessTimeout)
	defer cancel()
	tokens, err := s.access.Tokens(ctx)
	if err != nil {
		return fmt.Errorf("list the tokens that the certification made: %w", err)
	}
	if v.RunID == "" || !slices.ContainsFunc(tokens, func(t control.Token) bool {
		rest, ok := strings.CutPrefix(t.Name, v.RunID+"-")
		role, _, _ := strings.Cut(rest, "-")
		_, err := control.ParseRole(role)
		return ok && err == nil
	}) {
		return unusableEvidence(fmt.Sprintf("evidence %s is of another gate (%s): certify this one,"+
			" which takes test traffic at any percentage of the canary", id, printable(v.Target)))
	}
	return nil
}

// canaryFailed answers a change that was not made.
func (c *call) canaryFailed(err error) {
	var refused canary.Refusal
	var unusable unusableEvidence
	switch {
	case errors.As(err, &refused), errors.As(err, &unusable), errors.Is(err, control.ErrCanaryChanged):
		c.fail(http.StatusConflict, err.Error())
	default:
		c.unavailable("changing the canary", err)
	}
}
