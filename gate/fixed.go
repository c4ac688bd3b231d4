package gate

import "time"

// These limits have no setting, because nobody needs to tune them. The worker's are the defaults of
// package persist.
const (
	// maxSession ends a session of the dashboard, however often it is used.
	maxSession = 7 * 24 * time.Hour
	// maxLiveStreams limits the browsers that get live numbers at a time. In more browsers the numbers
	// do not move.
	maxLiveStreams = 20
	// maxEventStreams limits the answers of /api/events/stream at a time. Each has up to a megabyte.
	maxEventStreams = 100
	// auditTimeout bounds GET /api/audit/verify. The command hookgate audit verify has no limit.
	auditTimeout = 10 * time.Minute
	// searchTime is the default of AdminOptions.SearchTime.
	searchTime = 500 * time.Millisecond
	// maxPendingApprovals limits the open requests for approval of one person.
	maxPendingApprovals = 20
	// maxEvidenceAge is the greatest age of a certification that lets a canary leave 0 percent.
	maxEvidenceAge = 24 * time.Hour

	// A bundle of evidence may use a sixteenth of evidence.max_total, 256 MiB by default.
	evidenceParts = 16
	// maxBundles limits the number of bundles of evidence.
	maxBundles = 1000
	// evidenceTimeout bounds the upload of a bundle, which may be large.
	evidenceTimeout = 10 * time.Minute

	// subscriptionLease is how long a process owns a subscription without renewing that. When the
	// process dies, another one delivers after this time at the latest.
	subscriptionLease = 10 * time.Second
	// defineTimeout bounds how long Open waits for the definitions of the subscriptions to be stored.
	defineTimeout = 10 * time.Second

	// readHeaderTimeout bounds the time for a request's header, if http.read_timeout is longer.
	readHeaderTimeout = 5 * time.Second

	// recovery is how long the breaker takes from admitting a tenth of the webhooks to all.
	recovery = 10 * time.Second
	// minInFlight is the least limit on webhooks in flight, unless guard.in_flight.max is lower.
	minInFlight = 100

	// fewestWebhooks is the least number of webhooks in a minute for which the release triggers judge
	// P95 and error rate.
	fewestWebhooks = 20
	// alarmTimeout bounds one attempt to send an alarm, alarmRetryFor all attempts.
	alarmTimeout, alarmRetryFor = 10 * time.Second, 15 * time.Minute
	// rollbackCooldown is the time after a start of the roll-back command in which the gate does not
	// start it again. It prevents a loop of roll-backs, also across restarts.
	rollbackCooldown = time.Hour
)
