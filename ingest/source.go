package ingest

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/refused"
)

// Source is a configured sender.
type Source struct {
	// Name is the last segment of its path.
	Name   string
	Scheme admit.Scheme
	// KeepHeaders names request headers that are stored with its events, in addition to
	// admit.KeptHeaders.
	KeepHeaders []string
	// KeepRefusedBodies keeps the beginning of the bodies of refused requests.
	KeepRefusedBodies bool
	// Kind and Proof describe the source to people.
	Kind, Proof string
	// Sample is a request as the sender makes it, without the header that authenticates it. People
	// use it to try the source.
	Sample admit.Sample
	// Secrets and BearerKeys are how many of each the source has. The status shows when each was
	// last used.
	Secrets, BearerKeys int
	// URL is the address that the sender calls; empty if it is unknown.
	URL string
	// MaxBodyBytes is the largest body; 0 means Config.MaxBodyBytes.
	MaxBodyBytes int64
	// Rate is how many authenticated requests a second are accepted, Burst how many at once; others
	// get 429. A Rate of 0 means no limit.
	Rate  float64
	Burst int
	// AllowIPs are the addresses that may send; nil means all.
	AllowIPs []netip.Prefix
	// Success is the answer to an accepted request; with Status 0 it is a 202.
	Success admit.Success
}

// servedSource is a Source with its state.
type servedSource struct {
	Source
	handshaker admit.Handshaker // nil if its sender has none
	splitter   admit.Splitter   // nil if each of its requests is one event
	methods    []string         // for Allow
	limiter    *rate.Limiter    // nil: no limit
	// kept are the headers to store, in canonical form, and keptPrefixes the beginnings of others.
	kept, keptPrefixes []string
	// signatures are the headers with signatures, in canonical form.
	signatures []string
	counts     sourceCounts
	rejections rejectionCounts
	// used has the Unix time in microseconds when each credential was last used, by admit.Setting.
	used     [2][]atomic.Int64
	answered *metrics.Answers
	refused  *refused.Budget // nil: refused requests are not kept
	// typeUnproven is Request.TypeUnproven of its requests.
	typeUnproven bool
}

// sourceCounts counts since the start of the process.
type sourceCounts struct {
	accepted, duplicates, rejected, handshakes atomic.Int64
	// lastMicros is the Unix time in microseconds when a request was last accepted; 0: never.
	lastMicros atomic.Int64
}

// path returns the path of the source. A slash at its end makes no difference.
func (s *servedSource) path() string {
	if s.Name == DefaultSource {
		return webhookPath
	}
	return webhookPrefix + s.Name
}

// count counts the events of an accepted request.
func (s *servedSource) count(events int, duplicate bool, received time.Time) {
	if duplicate {
		s.counts.duplicates.Add(int64(events))
	} else {
		s.counts.accepted.Add(int64(events))
	}
	s.counts.lastMicros.Store(received.UnixMicro())
}

// newServedSource returns an error if the source is misconfigured.
func newServedSource(s Source, maxBody int64) (*servedSource, error) {
	secret := append(admit.SecretHeaders(s.Scheme), secretHeaders...)
	if slices.ContainsFunc(s.KeepHeaders,
		func(name string) bool { return http.CanonicalHeaderKey(name) == hookgate.OriginHeader }) {
		return nil, fmt.Errorf("source %s: header %s is the gate's own; remove it from keep_headers",
			s.Name, hookgate.OriginHeader)
	}
	var kept, prefixes []string
	for _, name := range admit.KeptHeaders(s.Scheme) {
		if prefix, ok := strings.CutSuffix(name, "*"); ok {
			prefixes = append(prefixes, prefix)
		} else if name != hookgate.OriginHeader && !slices.Contains(secretHeaders, name) {
			kept = append(kept, name)
		}
	}
	for _, name := range s.KeepHeaders {
		canonical := http.CanonicalHeaderKey(name)
		if slices.Contains(secret, canonical) {
			return nil, fmt.Errorf("source %s: header %s may hold a secret and cannot be kept with events",
				s.Name, canonical)
		}
		if !slices.Contains(kept, canonical) {
			kept = append(kept, canonical)
		}
	}
	if s.MaxBodyBytes == 0 {
		s.MaxBodyBytes = maxBody
	}
	served := &servedSource{Source: s, kept: kept, keptPrefixes: prefixes,
		signatures:   admit.SignatureHeaders(s.Scheme),
		methods:      []string{http.MethodPost, http.MethodHead},
		typeUnproven: admit.TypeUnproven(s.Scheme)}
	served.used[admit.Secrets] = make([]atomic.Int64, s.Secrets)
	served.used[admit.BearerKeys] = make([]atomic.Int64, s.BearerKeys)
	if h, ok := s.Scheme.(admit.Handshaker); ok {
		served.handshaker = h
		served.methods = append(served.methods, h.Methods()...)
	}
	if splitter, ok := s.Scheme.(admit.Splitter); ok && splitter.Splits() {
		served.splitter = splitter
	}
	if s.Rate > 0 {
		burst := s.Burst
		if burst == 0 {
			burst = int(math.Ceil(s.Rate))
		}
		served.limiter = rate.NewLimiter(rate.Limit(s.Rate), burst)
	}
	return served, nil
}

// use records that a request authenticated itself with a credential.
func (s *servedSource) use(c admit.Credential, at time.Time) {
	if used := s.used[c.Setting]; 0 < c.Position && c.Position <= len(used) {
		used[c.Position-1].Store(at.UnixMicro())
	}
}

// overRate counts a request against the source's rate. If the rate is exceeded, it returns how long
// the sender should wait.
func (s *servedSource) overRate(now time.Time) (wait time.Duration, over bool) {
	if s.limiter == nil || s.limiter.AllowN(now, 1) {
		return 0, false
	}
	missing := 1 - s.limiter.TokensAt(now)
	return time.Duration(missing / s.Rate * float64(time.Second)), true
}

// allows reports whether the client's address may send to the source.
func (h *Handler) allows(source *servedSource, r *http.Request) bool {
	if source.AllowIPs == nil {
		return true
	}
	client, ok := httpserver.ClientAddr(r, h.config.TrustedProxies)
	return ok && slices.ContainsFunc(source.AllowIPs,
		func(p netip.Prefix) bool { return p.Contains(client) })
}
