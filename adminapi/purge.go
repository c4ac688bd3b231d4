package adminapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
)

// purgeTimeout bounds one purge, which is one transaction of at most dlqBatch dead letters.
const purgeTimeout = 30 * time.Second

// purgeOne removes the body of a dead letter and of those that it retries. If that loses the event,
// the caller must confirm it.
func (s *API) purgeOne(c *call) {
	d, ok := s.findDeadLetter(c)
	if !ok {
		return
	}
	loseEvents := false
	members, err := readObject(c, "loseEvents")
	if err == nil {
		err = readMember(members, "loseEvents", "true or false", &loseEvents)
	}
	switch {
	case err != nil:
		c.fail(http.StatusBadRequest, err.Error())
	case d.State == hookgate.DeadLetterOpen && !loseEvents:
		c.fail(http.StatusConflict, fmt.Sprintf(
			`dead letter %s is open: a purge loses its event for ever; confirm with "loseEvents": true`,
			d.ID))
	default:
		target := fmt.Sprintf("%s (%s, %s)", d.ID, d.Identity, d.State)
		if c.approved(approvePurge, target) && c.begin(cut(target)) {
			s.purge(c, []string{d.ID}, "")
		}
	}
}

// purgeMany removes the bodies of the dead letters that a filter selects; without loseEvents only
// of those whose events are not lost by that.
func (s *API) purgeMany(c *call) {
	sel, err := readSelection(c, "loseEvents")
	if err == nil && sel.filter.State == hookgate.DeadLetterOpen && !sel.loseEvents {
		err = badParameter{"state", `is open: a purge loses the events for ever;` +
			` confirm with "loseEvents": true`}
	}
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	target := sel.describe()
	if !sel.mayContinue(c, approvePurge) {
		return
	}
	letters, next, ok := s.selected(c, sel.filter, func(d *hookgate.StoredDeadLetter) bool {
		return d.State != hookgate.DeadLetterPurged &&
			(sel.loseEvents || d.State != hookgate.DeadLetterOpen)
	})
	if !ok {
		return
	}
	ids := make([]string, len(letters))
	for i := range letters {
		ids[i] = letters[i].ID
	}
	if c.begin(cut(target)) {
		s.purge(c, ids, next)
	}
}

// purge purges the dead letters, as an action that has begun, and answers.
func (s *API) purge(c *call, ids []string, next string) {
	answer := api.Purged{Purged: []string{}, Next: next}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.request.Context()), purgeTimeout)
	defer cancel()
	http.NewResponseController(c).SetWriteDeadline(time.Now().Add(purgeTimeout +
		s.config.WriteTimeout))
	purged, err := s.purger.Purge(ctx, hookgate.Purge{IDs: ids, By: c.actor.name, Reason: c.reason})
	if err != nil {
		c.failed("purging dead letters", err)
		return
	}
	for _, id := range purged {
		answer.Purged = append(answer.Purged, id.String())
	}
	if c.end(fmt.Sprintf("%s: %d purged", control.ResultDone, len(purged))) {
		c.json(answer)
	}
}
