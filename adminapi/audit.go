package adminapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hookgate/hookgate/api"
)

// Verifier computes the audit chain of the store anew.
type Verifier func(context.Context) (api.Audit, error)

// verifyAudit answers what a verification finds, when it is done.
func (s *API) verifyAudit(c *call) {
	if c.request.URL.RawQuery != "" {
		c.fail(http.StatusBadRequest, "this call takes no parameters")
		return
	}
	// Each reads the whole store.
	if !c.alone(&s.auditing, "another verification is under way") {
		return
	}
	defer s.auditing.Unlock()
	ctx, cancel := context.WithTimeout(c.request.Context(), s.config.AuditTimeout)
	defer cancel()
	// The answer may come long after what other calls have.
	http.NewResponseController(c).SetWriteDeadline(time.Now().Add(s.config.AuditTimeout +
		s.config.WriteTimeout))
	answer, err := s.verify(ctx)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		c.fail(http.StatusGatewayTimeout, "the audit chain could not be verified within "+
			s.config.AuditTimeout.String()+"; hookgate audit verify has no such bound")
	case err != nil:
		c.broken("verifying the audit chain", err)
	default:
		c.json(answer)
	}
}
