package adminapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hookgate/hookgate/api"
)

// Verifier verifies the audit chains of the store.
type Verifier func(context.Context) (api.Audit, error)

// verifyAudit verifies the audit chains, and answers when that is done.
func (s *API) verifyAudit(c *call) {
	if c.request.URL.RawQuery != "" {
		c.fail(http.StatusBadRequest, "this call takes no parameters")
		return
	}
	// A verification reads the whole store.
	if !c.alone(&s.auditing, "another verification is running") {
		return
	}
	defer s.auditing.Unlock()
	ctx, cancel := context.WithTimeout(c.request.Context(), s.config.AuditTimeout)
	defer cancel()
	// The answer takes longer than WriteTimeout.
	http.NewResponseController(c).SetWriteDeadline(time.Now().Add(s.config.AuditTimeout +
		s.config.WriteTimeout))
	answer, err := s.verify(ctx)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		c.fail(http.StatusGatewayTimeout, "verifying the audit chain took longer than "+
			s.config.AuditTimeout.String()+"; hookgate audit verify has no such limit")
	case err != nil:
		c.unavailable("verifying the audit chain", err)
	default:
		c.json(answer)
	}
}
