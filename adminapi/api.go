// Package adminapi serves everything over HTTP except the webhooks: the read API, the calls that
// steer the gate, health and metrics, and the pages of the dashboard.
//
//	routes.go  the table of all calls: pattern, least role, action in the admin trail, handler
//	call.go    one call: its caller, the check of the role, its answer
//	wire.go    from the gate's types to those of package api
//	pages.go   the calls that answer HTML, which package dashboard makes
package adminapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/dashboard"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/history"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/attention"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/refused"
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
	// TrustedProxies are the proxies whose X-Forwarded-For names the client of a failed login; may be
	// nil.
	TrustedProxies []netip.Prefix
	// AuditTimeout bounds a verification of the audit chain.
	AuditTimeout time.Duration
	// MaxEvidenceAge is the greatest age of evidence on which the canary may leave 0 percent.
	MaxEvidenceAge time.Duration
	// SearchTime bounds how long one page of a search looks for events. A page that is not full by
	// then is partial, and says how far the search came.
	SearchTime time.Duration
	// AdminTokens have the role admin and work while the store is away. All are valid at once.
	AdminTokens []string
	// EvidenceTokens are valid for /api/intake only; may be empty.
	EvidenceTokens []string
	// MaxEvidence bounds the size of a bundle of evidence in bytes, EvidenceTimeout the time to
	// receive it.
	MaxEvidence     int64
	EvidenceTimeout time.Duration
	// Approvals says which actions need the approval of another person; the zero value: none.
	Approvals ApprovalRules
	// SessionIdle is how long a session of the dashboard lasts without use, SessionMax how long it
	// lasts at most.
	SessionIdle, SessionMax time.Duration
	// FailedLogins is how many unknown tokens an address may send in a minute. The answer to more
	// is 429.
	FailedLogins int
	// MaxStreams bounds the answers of /api/events/stream at a time. The answer to more is 503.
	MaxStreams int
	// QueueKind is direct or redis. The health shows it, and Version.
	QueueKind string
	Version   string
	Logger    *slog.Logger
}

// Parts are the parts of a gate that the API shows and steers. Set each one whose comment does not
// say otherwise.
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
	// Webhooks has the sources.
	Webhooks *ingest.Handler
	// Guard bounds the load of the webhooks.
	Guard *guard.Guard
	// Release watches the release triggers.
	Release *release.Monitor
	// Canary shares the webhooks with the previous service; nil if the gate takes all.
	Canary *canary.Canary
	// Subscriptions and Control show and change subscriptions; both are nil if there can be none.
	Subscriptions hookgate.SubscriptionReader
	Control       hookgate.SubscriptionControl
	// Log has the events for streams.
	Log Log
	// Puller hands events to clients, and Temporary creates subscriptions for them; nil and zero if
	// there can be no subscriptions.
	Puller    Puller
	Temporary Temporary
	// Wake makes this process look at its subscriptions after a change; nil if it delivers none.
	Wake func()
	// Delivering returns the subscriptions that this process delivers; nil if it delivers none.
	Delivering func() []LiveSubscription
	// Attention lists the things that a person should look at; nil for none.
	Attention *attention.List
	// History has the traffic of the last 24 hours.
	History history.Reader
	// Refused has the last refused requests.
	Refused refused.Store
}

// API handles everything except webhooks. All methods may be called concurrently.
type API struct {
	config   Config
	queue    hookgate.Queue
	stored   hookgate.Events
	trails   hookgate.Lineage
	letters  hookgate.DeadLetters
	purger   hookgate.Purger
	settings control.Settings
	access   Access
	verify   Verifier
	intake   Intake
	// Each is held by the one call of its kind; see call.alone.
	auditing, receiving, removing sync.Mutex
	metrics                       *metrics.Metrics
	webhooks                      *ingest.Handler
	guard                         *guard.Guard
	release                       *release.Monitor
	canary                        *canary.Canary // nil: the gate takes all
	attention                     *attention.List
	subscriptions                 hookgate.SubscriptionReader // nil: there can be none
	control                       hookgate.SubscriptionControl
	tailed                        Log
	puller                        Puller // nil: there can be no subscriptions
	temporary                     Temporary
	streams                       chan struct{}             // one place for each stream
	wake                          func()                    // may be nil
	delivering                    func() []LiveSubscription // may be nil
	configured                    configuredTokens
	evidenceTokens                configuredTokens
	logins                        *logins
	guesses                       chan struct{} // one place for each look-up; see maxGuesses
	sessions                      *sessions
	pages                         *dashboard.Dashboard
	retryAfter                    []string
	log                           *slog.Logger
	rejectedCalls                 *httpserver.RejectionLog
	started                       time.Time
	history                       history.Reader
	series                        seriesCache
	refused                       refused.Store
	muxes                         [httpserver.Sides]*http.ServeMux // by side
	ending                        context.Context                  // ended by Stop
	stop                          context.CancelFunc
}

// rejectedPerSecond and rejectedBurst bound how many rejected calls are logged.
const rejectedPerSecond, rejectedBurst = 10, 50

// New returns the API of one gate.
func New(c Config, p Parts) *API {
	a := &API{
		config: c, queue: p.Queue, stored: p.Reader, trails: p.Reader,
		letters: p.Reader, purger: p.Purger, settings: p.Settings,
		access: p.Access, verify: p.Verify, intake: p.Intake, metrics: p.Metrics, guard: p.Guard,
		release: p.Release, canary: p.Canary, attention: p.Attention, webhooks: p.Webhooks,
		pages: p.Pages, history: p.History, refused: p.Refused,
		subscriptions: p.Subscriptions, control: p.Control, wake: p.Wake, delivering: p.Delivering,
		configured:     newConfiguredTokens(c.AdminTokens),
		evidenceTokens: newConfiguredTokens(c.EvidenceTokens),
		logins:         newLogins(c.FailedLogins),
		guesses:        make(chan struct{}, maxGuesses),
		sessions:       newSessions(c.AdminTokens, c.SessionIdle, c.SessionMax),
		retryAfter:     []string{httpserver.RetryAfter(c.RetryAfter)},
		log:            c.Logger,
		rejectedCalls: httpserver.NewRejectionLog(c.Logger, "call rejected", rejectedPerSecond,
			rejectedBurst),
		started: time.Now(),
		tailed:  p.Log, puller: p.Puller, temporary: p.Temporary,
		streams: make(chan struct{}, c.MaxStreams),
	}
	a.ending, a.stop = context.WithCancel(context.Background())
	for side := range a.muxes {
		a.muxes[side] = newMux(routes, httpserver.Side(side))
	}
	return a
}

// Stop ends the calls that stream or wait. The server calls it at shutdown.
func (s *API) Stop() { s.stop() }
