// Package adminapi is everything that the gate serves over HTTP but the webhooks: the read API, the
// calls that steer the gate, health and metrics, and the pages of the dashboard.
//
//	routes.go  one table: method, path, least role, action in the admin trail, handler
//	call.go    one call on its way: who makes it, whether he may, its answer
//	pages.go   the routes that answer HTML; package dashboard makes it
package adminapi

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/dashboard"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/attention"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/release"
	"github.com/hookgate/hookgate/release/canary"
)

// Config of the API. Set each field whose comment does not say otherwise.
type Config struct {
	// WriteTimeout bounds the time to write an answer, or each page of a stream. Calls that take
	// longer extend it.
	WriteTimeout time.Duration
	// RetryAfter is how long a 503 asks the caller to wait, rounded up to seconds.
	RetryAfter time.Duration
	// TrustedProxies are those whose X-Forwarded-For is believed, for failed logins; may be nil.
	TrustedProxies []netip.Prefix
	// AuditTimeout bounds a verification of the audit chain that was asked for here.
	AuditTimeout time.Duration
	// MaxEvidenceAge is how old the evidence may be on which the canary leaves 0 percent.
	MaxEvidenceAge time.Duration
	// SearchTime is how long one page of a search looks for events when few match; then it says how
	// far it came.
	SearchTime time.Duration
	// AdminTokens have the role admin and work while the store is away; all are valid at once.
	AdminTokens []string
	// EvidenceTokens open /api/intake and nothing else; there need not be any.
	EvidenceTokens []string
	// MaxEvidence bounds a bundle of evidence in bytes, and EvidenceTimeout the time that it takes to
	// arrive.
	MaxEvidence     int64
	EvidenceTimeout time.Duration
	// Approvals say what takes the approval of another person; by itself nothing does.
	Approvals ApprovalRules
	// SessionIdle is how long a session of the dashboard lasts without being used, SessionMax how long
	// it lasts at most.
	SessionIdle, SessionMax time.Duration
	// FailedLogins is how many unknown tokens an address may show in a minute; further ones get 429.
	FailedLogins int
	// QueueKind is the kind of queue, direct or redis, and Version that of the gate; the health shows
	// both.
	QueueKind string
	Version   string
	Logger    *slog.Logger
}

// Parts are the parts of a gate that the API shows and steers. Each must be set.
type Parts struct {
	Queue    hookgate.Queue
	Reader   hookgate.Reader
	Purger   hookgate.Purger
	Settings control.Settings
	Access   Access
	Verify   Verifier
	Intake   Intake
	Metrics  *metrics.Metrics
	Pages    *dashboard.Dashboard
	// Webhooks is the handler whose sources are shown.
	Webhooks *ingest.Handler
	// Guard decides how many webhooks are taken and how much memory their bodies may have.
	Guard *guard.Guard
	// Release watches the release triggers.
	Release *release.Monitor
	// Canary shares the webhooks with the service before; nil if the gate takes all.
	Canary *canary.Canary
	// Attention is what the health shows beside the state; nil for nothing.
	Attention *attention.List
}

// API handles everything but webhooks. All methods may be called concurrently.
type API struct {
	config              Config
	queue               hookgate.Queue
	stored              hookgate.Events
	trails              hookgate.Lineage
	letters             hookgate.DeadLetters
	purger              hookgate.Purger
	settings            control.Settings
	access              Access
	verify              Verifier
	intake              Intake
	auditing, receiving sync.Mutex // held by the one call of its kind at a time; see call.alone
	removing            sync.Mutex // likewise
	metrics             *metrics.Metrics
	webhooks            *ingest.Handler
	guard               *guard.Guard
	release             *release.Monitor
	canary              *canary.Canary // nil: the gate takes all
	attention           *attention.List
	configured          configuredTokens
	evidenceTokens      configuredTokens
	logins              *logins
	guesses             chan struct{} // has a place for each look-up that maxGuesses allows
	sessions            *sessions
	pages               *dashboard.Dashboard
	retryAfter          []string
	log                 *slog.Logger
	refusedCalls        *httpserver.RejectionLog
	started             time.Time
	muxes               [httpserver.Sides]*http.ServeMux // by side
	ending              chan struct{}                    // closed by Stop
	stopOnce            sync.Once
}

// refusedPerSecond is how many refused calls are logged a second, and refusedBurst how many at once.
const refusedPerSecond, refusedBurst = 10, 50

// New returns the API of one gate.
func New(c Config, p Parts) *API {
	a := &API{
		config: c, queue: p.Queue, stored: p.Reader, trails: p.Reader,
		letters: p.Reader, purger: p.Purger, settings: p.Settings,
		access: p.Access, verify: p.Verify, intake: p.Intake, metrics: p.Metrics, guard: p.Guard,
		release: p.Release,
		canary:  p.Canary, attention: p.Attention, webhooks: p.Webhooks, pages: p.Pages,
		configured:     newConfiguredTokens(c.AdminTokens),
		evidenceTokens: newConfiguredTokens(c.EvidenceTokens),
		logins:         newLogins(c.FailedLogins),
		guesses:        make(chan struct{}, maxGuesses),
		sessions:       newSessions(c.AdminTokens, c.SessionIdle, c.SessionMax),
		retryAfter:     []string{httpserver.RetryAfter(c.RetryAfter)},
		log:            c.Logger,
		refusedCalls: httpserver.NewRejectionLog(c.Logger, "call refused", refusedPerSecond,
			refusedBurst),
		started: time.Now(),
		ending:  make(chan struct{}),
	}
	for side := range a.muxes {
		a.muxes[side] = newMux(routes, httpserver.Side(side))
	}
	return a
}

// Stop ends the calls that stream or wait for something. The server calls it when it shuts down.
func (s *API) Stop() { s.stopOnce.Do(func() { close(s.ending) }) }
