package gate

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/datadir"
)

// SourceOptions describe one sender. Most need Kind and Secrets only. An empty field has the
// default of the kind; docs/reference/senders.md lists the kinds.
type SourceOptions struct {
	// Kind is the kind of sender, one of admit.Names.
	Kind string `setting:"kind"`
	// Secrets are what the sender signs with or sends: HMAC secrets, public keys, tokens or
	// user:password, as the kind needs them.
	Secrets Secrets `setting:"secrets"`
	// BearerKeys authenticate with "Authorization: Bearer"; kind "envelope".
	BearerKeys Secrets `setting:"bearer_keys"`
	// VerifyTokens confirm a subscription; kind "meta".
	VerifyTokens Secrets `setting:"verify_tokens"`
	// Topics are the ARNs that may send; kind "sns". Confirm confirms their subscriptions.
	Topics  []string `setting:"topics"`
	Confirm bool     `setting:"confirm_subscriptions"`
	// Header is the header that holds the secret; kind "api_key".
	Header string `setting:"header"`
	// Signature says how the sender signs; kind "hmac".
	Signature SignatureOptions `setting:"signature"`
	// Tolerance is how far the time of a signature may be from now.
	Tolerance time.Duration `setting:"tolerance"`
	// PublicURL is the URL that the sender calls, for kinds that sign it. The default is
	// Options.PublicURL with the path of the source.
	PublicURL string `setting:"public_url"`

	// Split is the place of an array of which each element is an event.
	Split string `setting:"split"`
	// The places of the event's attributes in the request, or in an element of Split. The first
	// place that has a value counts.
	MessageID   Places `setting:"message_id"`
	EventType   Places `setting:"event_type"`
	OrderingKey Places `setting:"ordering_key"`
	Sequence    Places `setting:"sequence"`
	// KeepHeaders names the request headers that are stored with the event.
	KeepHeaders []string `setting:"keep_headers"`
	// KeepRefusedBodies keeps the first 16 KiB of the body of each refused request that is kept.
	// Anyone can send such a body. It is false by default.
	KeepRefusedBodies bool `setting:"keep_refused_bodies"`

	// MaxBody bounds a body; 0: HTTPOptions.MaxBody.
	MaxBody Bytes `setting:"max_body"`
	// RateLimit is the number of authentic requests per second, RateBurst how many of them may come
	// at once. A RateLimit of 0 is no limit, a RateBurst of 0 is RateLimit, rounded up.
	RateLimit float64 `setting:"rate_limit"`
	RateBurst int     `setting:"rate_burst"`
	// AllowIPs are the addresses and networks that may send; nil: all.
	AllowIPs []string `setting:"allow_ips"`
	// SuccessStatus and SuccessBody are the answer to a durable webhook.
	SuccessStatus int    `setting:"success_status"`
	SuccessBody   string `setting:"success_body"`
}

// Places is a list of places in a request. A place of several parts is a composite.
type Places []admit.Place

// UnmarshalText reads a list with commas between the places. It cannot express a composite.
func (l *Places) UnmarshalText(text []byte) error {
	*l = nil
	for one := range strings.SplitSeq(string(text), ",") {
		*l = append(*l, admit.Place{one})
	}
	return nil
}

// SignatureOptions describe how a sender of the kind "hmac" signs; see admit.Rule.
type SignatureOptions struct {
	Algorithm      string         `setting:"algorithm"`
	Header         string         `setting:"header"`
	Separator      string         `setting:"separator"`
	Prefix         admit.Prefixes `setting:"prefix"`
	Encoding       string         `setting:"encoding"`
	Signed         string         `setting:"signed"`
	Timestamp      string         `setting:"timestamp"`
	TimestampUnit  string         `setting:"timestamp_unit"`
	SecretEncoding string         `setting:"secret_encoding"`
}

// check returns an error for options of a source that cannot work. admit.New checks the options
// whose meaning depends on the kind.
func (s SourceOptions) check(name string, o Options) error {
	if !validName(name) {
		return fmt.Errorf("sources: the name %q must have 1 to 64 characters of a-z, 0-9, - and _", name)
	}
	if name == hookgate.TestSource {
		return fmt.Errorf("sources: the name %q is reserved for test traffic; choose another", name)
	}
	wrong := func(setting, format string, args ...any) error {
		return fmt.Errorf("sources.%s.%s %s", name, setting, fmt.Sprintf(format, args...))
	}
	if s.Kind == "" {
		return wrong("kind", "is missing; set it to one of %s", strings.Join(admit.Names(), ", "))
	}
	kind, known := admit.Find(s.Kind)
	switch {
	case !known:
		return wrong("kind", "%q is unknown; set it to one of %s", s.Kind,
			strings.Join(admit.Names(), ", "))
	case kind.Open && !o.AllowUnauthenticated && !isLoopback(o.Listen):
		return wrong("kind", "is %s, which accepts webhooks from everyone who can reach %s; listen on"+
			" loopback, or set allow_unauthenticated: true", s.Kind, cmp.Or(o.Listen, "this program"))
	case s.MaxBody < 0 || s.MaxBody > MaxBodyLimit:
		return wrong("max_body", "is %v; the store takes bodies of up to %v", s.MaxBody, MaxBodyLimit)
	case 2*s.MaxBody > o.HTTP.MaxBodyMemory:
		return wrong("max_body", "(%v) is more than half of http.max_body_memory (%v)", s.MaxBody,
			o.HTTP.MaxBodyMemory)
	case s.RateLimit < 0 || s.RateLimit > 1e9 || s.RateLimit != s.RateLimit:
		return wrong("rate_limit", "must be a number of requests per second from 0 to 1e9")
	case s.RateBurst < 0 || s.RateBurst > 0 && s.RateLimit == 0:
		return wrong("rate_burst", "must be at least 1, and needs rate_limit")
	case s.Tolerance < 0:
		return wrong("tolerance", "must not be negative")
	case s.SuccessStatus != 0 && (s.SuccessStatus < 200 || s.SuccessStatus > 299):
		return wrong("success_status",
			"is %d, after which the sender would retry; use one from 200 to 299", s.SuccessStatus)
	case s.SuccessBody != "" && (s.SuccessStatus == 0 || s.SuccessStatus == 204 ||
		s.SuccessStatus == 205):
		return wrong("success_body", "needs a success_status with a body, such as 200")
	}
	if _, err := parsePrefixes(s.AllowIPs); err != nil {
		return wrong("allow_ips", "%v", err)
	}
	if err := checkPublicURL(s.PublicURL); err != nil {
		return wrong("public_url", "%v", err)
	}
	return nil
}

// isLoopback reports whether only this machine can reach an address to listen on.
func isLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// checkPublicURL returns an error without the URL, which may hold a password.
func checkPublicURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Fragment != "" ||
		u.RawQuery != "" {
		return errors.New("must be a URL like https://hooks.example.com, without a query")
	}
	return nil
}

// parsePrefixes parses addresses and networks.
func parsePrefixes(texts []string) (prefixes []netip.Prefix, err error) {
	for _, text := range texts {
		text = strings.TrimSpace(text)
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, err := netip.ParseAddr(text)
			if err != nil || a.Zone() != "" {
				return nil, fmt.Errorf("%q is neither an IP address nor a network like 192.0.2.0/24", text)
			}
			p = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes, nil
}

// publicURL returns the URL that the sender of a source calls: the source's PublicURL, or the
// gate's with the path. It returns "" if neither is set.
func (o Options) publicURL(name string) string {
	switch own := o.Sources[name].PublicURL; {
	case own != "":
		return own
	case o.PublicURL == "":
		return ""
	case name == ingest.DefaultSource:
		return strings.TrimSuffix(o.PublicURL, "/") + "/webhooks"
	default:
		return strings.TrimSuffix(o.PublicURL, "/") + "/webhooks/" + name
	}
}

// redacted returns a URL without its password.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Redacted()
}

// schemeOptions resolves the secrets of a source. The keys of the default source come from k.
func (o Options) schemeOptions(name string, k credentials,
	client admit.Amazon) (scheme admit.Options, err error) {
	s := o.Sources[name]
	scheme = admit.Options{
		Places: admit.Places{MessageID: s.MessageID, EventType: s.EventType,
			OrderingKey: s.OrderingKey, Sequence: s.Sequence},
		Tolerance: s.Tolerance, PublicURL: o.publicURL(name), Signature: admit.Rule(s.Signature),
		Header: s.Header,
		Topics: s.Topics, Confirm: s.Confirm, Amazon: client, Split: s.Split,
	}
	if name == ingest.DefaultSource {
		scheme.BearerKeys, scheme.Secrets = k.bearerKeys, k.hmacSecrets
	} else {
		if scheme.BearerKeys, err = resolveSecrets(s.BearerKeys); err != nil {
			return scheme, fmt.Errorf("sources.%s.bearer_keys: %w", name, err)
		}
		if scheme.Secrets, err = resolveSecrets(s.Secrets); err != nil {
			return scheme, fmt.Errorf("sources.%s.secrets: %w", name, err)
		}
	}
	if scheme.VerifyTokens, err = resolveSecrets(s.VerifyTokens); err != nil {
		return scheme, fmt.Errorf("sources.%s.verify_tokens: %w", name, err)
	}
	return scheme, nil
}

// newSource returns the source with this name. k and client are those of schemeOptions.
func (o Options) newSource(name string, k credentials,
	client admit.Amazon) (ingest.Source, error) {
	s := o.Sources[name]
	opts, err := o.schemeOptions(name, k, client)
	if err != nil {
		return ingest.Source{}, err
	}
	for _, key := range slices.Concat(opts.BearerKeys, opts.Secrets, opts.VerifyTokens) {
		for setting, tokens := range map[string][]string{"admin_tokens": k.adminTokens,
			"evidence_tokens": k.evidenceTokens} {
			if slices.Contains(tokens, key) {
				return ingest.Source{}, fmt.Errorf("sources.%s: one of its keys is also in %s; use"+
					" different ones, so that a sender cannot call the API", name, setting)
			}
		}
	}
	scheme, err := admit.New(s.Kind, opts)
	if err != nil {
		return ingest.Source{}, fmt.Errorf("sources.%s: %w", name, err)
	}
	allowed, err := parsePrefixes(s.AllowIPs)
	if err != nil {
		return ingest.Source{}, fmt.Errorf("sources.%s.allow_ips: %w", name, err)
	}
	sample, err := admit.SampleOf(s.Kind, opts, "test-1")
	if err != nil {
		return ingest.Source{}, fmt.Errorf("sources.%s: make a sample: %w", name, err)
	}
	kind, _ := admit.Find(s.Kind)
	success := kind.Success
	if s.SuccessStatus != 0 {
		success = admit.Success{Status: s.SuccessStatus, ContentType: typeOf(s.SuccessBody),
			Body: s.SuccessBody}
	}
	return ingest.Source{
		Name: name, Scheme: scheme, KeepHeaders: s.KeepHeaders,
		KeepRefusedBodies: s.KeepRefusedBodies, Kind: s.Kind, Proof: proofOf(kind, opts),
		URL:    redacted(o.publicURL(name)),
		Sample: sample, Secrets: len(opts.Secrets), BearerKeys: len(opts.BearerKeys),
		MaxBodyBytes: int64(s.MaxBody), Rate: s.RateLimit, Burst: s.RateBurst, AllowIPs: allowed,
		Success: success,
	}, nil
}

// proofOf describes, for people, how a source authenticates.
func proofOf(k admit.Kind, o admit.Options) string {
	switch {
	case k.Name == "hmac":
		return o.Signature.String()
	case k.Name == "api_key":
		return "the secret in " + cmp.Or(o.Header, admit.DefaultKeyHeader)
	}
	return k.Proof
}

// typeOf guesses the content type of SourceOptions.SuccessBody.
func typeOf(body string) string {
	switch text := strings.TrimSpace(body); {
	case strings.HasPrefix(text, "<"):
		return "text/xml; charset=utf-8"
	case strings.HasPrefix(text, "{"), strings.HasPrefix(text, "["):
		return "application/json"
	}
	return "text/plain; charset=utf-8"
}

// newSources returns all sources. The keys of the default source come from k.
func newSources(o Options, k credentials) ([]ingest.Source, error) {
	var sources []ingest.Source
	client := newAmazonClient(http.DefaultTransport)
	for _, name := range o.SourceNames() {
		source, err := o.newSource(name, k, client)
		if err != nil {
			return nil, err
		}
		sources = append(sources, source)
		// Test traffic uses the keys and limits of the default source under a separate name.
		if name == ingest.DefaultSource && o.Sources[name].Kind == "envelope" {
			source.Name = hookgate.TestSource
			sources = append(sources, source)
		}
	}
	return sources, nil
}

// largestBody returns the size of the largest body that any source takes.
func (o Options) largestBody() Bytes {
	largest := o.HTTP.MaxBody
	for _, source := range o.Sources {
		largest = max(largest, source.MaxBody)
	}
	return largest
}

// SourceNames returns the names of all sources, sorted.
func (o Options) SourceNames() []string {
	names := make([]string, 0, len(o.Sources))
	for name := range o.Sources {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// CheckSources returns every source that Open could make, and an error for each of the others. It
// writes no keys: a key that Open would generate is replaced by a constant.
func (o Options) CheckSources() (sources []ingest.Source, errs error) {
	client := newAmazonClient(http.DefaultTransport)
	for _, name := range o.SourceNames() {
		k, err := o.configuredKeys(name)
		if err == nil {
			var s ingest.Source
			if s, err = o.newSource(name, k, client); err == nil {
				sources = append(sources, s)
			}
		}
		errs = errors.Join(errs, err)
	}
	return sources, errs
}

// configuredKeys returns the keys of the default source, for use without a gate. It reads the keys
// that Open has generated; before that it returns a text in place of each key.
func (o Options) configuredKeys(name string) (k credentials, err error) {
	if name != ingest.DefaultSource {
		return k, nil
	}
	source := o.Sources[name]
	if k.bearerKeys, err = resolveSecrets(source.BearerKeys); err != nil {
		return k, fmt.Errorf("sources.default.bearer_keys: %w", err)
	}
	if k.hmacSecrets, err = resolveSecrets(source.Secrets); err != nil {
		return k, fmt.Errorf("sources.default.secrets: %w", err)
	}
	if len(k.bearerKeys)+len(k.hmacSecrets) > 0 || source.Kind != "envelope" {
		return k, nil
	}
	for name, to := range map[string]*[]string{datadir.BearerKey: &k.bearerKeys,
		datadir.HMACSecret: &k.hmacSecrets} {
		key, err := o.dir().ReadKey(name)
		if err != nil {
			key = "is made by the first start of the gate"
		}
		*to = []string{key}
	}
	return k, nil
}

// SchemeOptions returns the options of admit.New for a source, with its secrets. Like CheckSources
// it makes no keys.
func (o Options) SchemeOptions(name string) (admit.Options, error) {
	keys, err := o.configuredKeys(name)
	if err != nil {
		return admit.Options{}, err
	}
	return o.schemeOptions(name, keys, newAmazonClient(http.DefaultTransport))
}
