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

// VerifyAudit verifies the store that the configuration names. The gate on the same data directory shows
// in its health that there is a break, until a verification finds none.
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
		o.logger().Warn("the health does not show the result of the audit", "error", err)
	}
	return found, nil
}

func verifyStore(ctx context.Context, o Options, progress func(audit.Audit)) (audit.Audit, error) {
	if o.Database.URL != "" {
		return postgres.Verify(ctx, o.Database.URL, o.Database.Schema, progress)
	}
	path := o.dir().StoreFile()
	if _, err := os.Stat(path); err != nil {
		return audit.Audit{}, fmt.Errorf("there is no store to verify: %w", err)
	}
	return sqlite.Verify(ctx, path, progress)
}

// timeOrNull is t in JSON, or null if it is zero.
func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// AuditAnswer is an audit as the API and the command write it.
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

// verifierOf verifies the store that the configuration names, for the API.
func verifierOf(o Options) adminapi.Verifier {
	return func(ctx context.Context) (api.Audit, error) {
		found, err := VerifyAudit(ctx, o, func(audit.Audit) {})
		return AuditAnswer(found), err
	}
}
