package gate

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"time"

	"github.com/hookgate/hookgate/adminapi"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/store/postgres"
	"github.com/hookgate/hookgate/store/sqlite"
)

// VerifyAudit verifies the audit chains of the store that the options name. If it finds a break,
// /api/health of the gate with the same data directory reports it, until a verification finds none.
func VerifyAudit(ctx context.Context, o Options, progress func(audit.Audit)) (audit.Audit, error) {
	found, err := verifyStore(ctx, o, progress)
	if err != nil {
		return found, err
	}
	var broken error
	if found.Break != nil {
		broken = fmt.Errorf("%v", found.Break)
	}
	if err := o.dir().KeepAudit(broken); err != nil {
		o.logger().Warn("cannot save the result of the verification; /api/health does not show it",
			"error", err)
	}
	return found, nil
}

// verifyStore verifies the store itself.
func verifyStore(ctx context.Context, o Options, progress func(audit.Audit)) (audit.Audit, error) {
	if o.Database.URL != "" {
		return postgres.Verify(ctx, o.Database.URL, o.Database.Schema, progress)
	}
	path := o.dir().StoreFile()
	if _, err := os.Stat(path); err != nil {
		return audit.Audit{}, fmt.Errorf("open the store to verify: %w", err)
	}
	return sqlite.Verify(ctx, path, progress)
}

// timeOrNull returns t, or nil if it is zero.
func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// AuditAnswer returns the result of a verification in the form of the API.
func AuditAnswer(a audit.Audit) api.Audit {
	answer := api.Audit{
		OK: a.Break == nil, Links: a.Links, Entries: a.Entries, Events: a.Events,
		Duplicates: a.Duplicates, DeadLetters: a.DeadLetters, Purged: a.Purged, Actions: a.Actions,
	}
	if r := a.Removed; r.Links+r.Entries > 0 || a.Bodies > 0 || a.Tests > 0 {
		answer.Removed = &api.AuditRemoved{
			Links: r.Links, Entries: r.Entries, Events: r.Events, Duplicates: r.Duplicates,
			DeadLetters: r.DeadLetters, Until: timeOrNull(r.Until),
			Bodies: a.Bodies, BodiesUntil: timeOrNull(a.BodiesUntil), Tests: a.Tests,
		}
	}
	if b := a.Break; b != nil {
		answer.Break = &api.AuditBreak{Partition: b.Partition, Link: b.Sequence, Batch: b.Batch,
			What: b.What}
	} else {
		answer.Head = hex.EncodeToString(a.Head[:])
	}
	return answer
}

// verifierOf returns a function that verifies the store, for the API.
func verifierOf(o Options) adminapi.Verifier {
	return func(ctx context.Context) (api.Audit, error) {
		found, err := VerifyAudit(ctx, o, func(audit.Audit) {})
		return AuditAnswer(found), err
	}
}
