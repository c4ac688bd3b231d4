package adminapi

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Verifier computes the audit chain of the store anew.
type Verifier func(context.Context) (AuditAnswer, error)

// AuditAnswer is what a verification of the audit chain found.
type AuditAnswer struct {
	// OK says that the chains hold. Head then stands for all that is stored; else Break is the first
	// place where they do not.
	OK         bool  `json:"ok"`
	Links      int64 `json:"links"`   // of the chains of earlier releases
	Entries    int64 `json:"entries"` // of the log
	Events     int64 `json:"events"`
	Duplicates int64 `json:"duplicates"`
	// DeadLetters are all that there were, Purged those of them whose body a person had removed.
	DeadLetters int64         `json:"deadLetters"`
	Purged      int64         `json:"purged"`
	Actions     int64         `json:"actions"`
	Removed     *AuditRemoved `json:"removed,omitempty"`
	Head        string        `json:"head,omitempty"` // SHA-256, hexadecimal
	Break       *AuditBreak   `json:"break,omitempty"`
}

// AuditRemoved is what retention has removed: whole links with what they sealed, and the bodies of
// events that are still there.
type AuditRemoved struct {
	Links       int64 `json:"links"`
	Entries     int64 `json:"entries"`
	Events      int64 `json:"events"`
	Duplicates  int64 `json:"duplicates"`
	DeadLetters int64 `json:"deadLetters"`
	Bodies      int64 `json:"bodies"`
	// Until and BodiesUntil are when the youngest of them was stored; null if there is none.
	Until       *time.Time `json:"until"`
	BodiesUntil *time.Time `json:"bodiesUntil"`
	// Tests are events of test traffic whose body was removed and which retention has not come to.
	Tests int64 `json:"tests,omitempty"`
}

// AuditBreak is the first place where the store differs from its chain.
type AuditBreak struct {
	Partition int    `json:"partition"`
	Link      int64  `json:"link"`
	Batch     int64  `json:"batch"`
	What      string `json:"what"`
}

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
