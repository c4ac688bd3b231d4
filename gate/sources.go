package gate

import (
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

// SourceOptions is one sender. docs/reference/senders.md describes the kinds to users.
type SourceOptions struct {
	Kind          string           `setting:"kind"`
	BearerKeys    Secrets          `setting:"bearer_keys"`
	Secrets       Secrets          `setting:"secrets"`
	VerifyTokens  Secrets          `setting:"verify_tokens"`
	Topics        []string         `setting:"topics"`
	Confirm       bool             `setting:"confirm_subscriptions"`
	Header        string           `setting:"header"`
	Signature     SignatureOptions `setting:"signature"`
	Tolerance     time.Duration    `setting:"tolerance"`
	PublicURL     string           `setting:"public_url"`
	Split         string           `setting:"split"`
	MessageID     Places           `setting:"message_id"`
	EventType     Places           `setting:"event_type"`
	OrderingKey   Places           `setting:"ordering_key"`
	Sequence      Places           `setting:"sequence"`
	KeepHeaders   []string         `setting:"keep_headers"`
	MaxBody       Bytes            `setting:"max_body"`
	RateLimit     float64          `setting:"rate_limit"`
	RateBurst     int              `setting:"rate_burst"`
	AllowIPs      []string         `setting:"allow_ips"`
	SuccessStatus int              `setting:"success_status"`
	SuccessBody   string           `setting:"success_body"`
}

// Places are places that a configuration lists; an inner list is a composite.
type Places []admit.Place

// UnmarshalText reads a list that is written as one text, with commas.
func (l *Places) UnmarshalText(text []byte) error {
	*l = nil
	for one := range strings.SplitSeq(string(text), ",") {
		*l = append(*l, admit.Place{one})
	}
	return nil
}

// SignatureOptions is an admit.Rule.
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

// check finds settings of a source that cannot work; what the kind makes of the others its scheme
// says.
func (s SourceOptions) check(name string, o Options) error {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	}) || len(name) > 64 {
		return fmt.Errorf("sources: the name %q is not made of up to 64 of a-z, 0-9, - and _", name)
	}
	if name == hookgate.TestSource {
		return fmt.Errorf("sources: the name %q is reserved for test traffic; choose another", name)
	}
	wrong := func(setting, format string, args ...any) error {
		return fmt.Errorf("sources.%s.%s %s", name, setting, fmt.Sprintf(format, args...))
	}
	if s.Kind == "" {
		return wrong("kind", "is missing; the known ones are %s", strings.Join(admit.Names(), ", "))
	}
	kind, known := admit.Find(s.Kind)
	switch {
	case !known:
		return wrong("kind", "%q is unknown; the known ones are %s", s.Kind, strings.Join(admit.Names(),
			", "))
	case kind.Open && !o.AllowUnauthenticated && !isLoopback(o.Listen):
		return wrong("kind", "%s lets everyone in who reaches %s: listen on loopback, or set allow_unauthenticated: true", s.Kind, o.Listen)
	case s.MaxBody < 0 || s.MaxBody > MaxBodyLimit:
		return wrong("max_body", "is %v; the store can keep bodies of up to %v", s.MaxBody, MaxBodyLimit)
	case 2*s.MaxBody > o.HTTP.MaxBodyMemory:
		return wrong("max_body", "(%v) is more than half of http.max_body_memory (%v)", s.MaxBody,
			o.HTTP.MaxBodyMemory)
	case s.RateLimit < 0 || s.RateLimit > 1e9 || s.RateLimit != s.RateLimit:
		return wrong("rate_limit", "is not a number of requests a second")
	case s.RateBurst < 0 || s.RateBurst > 0 && s.RateLimit == 0:
		return wrong("rate_burst", "needs a rate_limit and is at least 1")
	case s.Tolerance < 0:
		return wrong("tolerance", "is negative")
	case s.SuccessStatus != 0 && (s.SuccessStatus < 200 || s.SuccessStatus > 299):
		return wrong("success_status",
			"is %d, which would make the sender send again; use one from 200 to 299", s.SuccessStatus)
	case s.SuccessBody != "" && (s.SuccessStatus == 0 || s.SuccessStatus == 204 ||
		s.SuccessStatus == 205):
		return wrong("success_body", "needs a success_status that has a body, such as 200")
	}
	if _, err := parsePrefixes(s.AllowIPs); err != nil {
		return wrong("allow_ips", "%v", err)
	}
	if err := checkPublicURL(s.PublicURL); err != nil {
		return wrong("public_url", "%v", err)
	}
	return nil
}

// isLoopback reports whether an address to listen on is reached from this machine alone.
func isLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

func checkPublicURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Fragment != "" ||
		u.RawQuery != "" {
		// it may hold a password
		return errors.New("is not a URL like https://hooks.example.com, without a query")
	}
	return nil
}

// parsePrefixes reads addresses and networks.
func parsePrefixes(texts []string) (prefixes []netip.Prefix, err error) {
	for _, text := range texts {
		text = strings.TrimSpace(text)
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, err := netip.ParseAddr(text)
			if err != nil || a.Zone() != "" {
				return nil, fmt.Errorf("%q is neither an address nor a network like 192.0.2.0/24", text)
			}
			p = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes, nil
}

// publicURL is what the sender of a source calls, if it is known: the source's own public_url, or
// the gate's and the path.
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

// shown is a URL as people may see it.
func shown(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Redacted()
}

// schemeOptions resolves the secrets of a source; those of the default one are in k.
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

// newSource makes a configured source.
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
				return ingest.Source{}, fmt.Errorf("sources.%s: one of its keys is also in %s; what authenticates webhooks must open nothing else", name, setting)
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
		Name: name, Scheme: scheme, KeepHeaders: s.KeepHeaders, Kind: s.Kind, Proof: proofOf(kind, opts),
		URL:    shown(o.publicURL(name)),
		Sample: sample, Secrets: len(opts.Secrets), BearerKeys: len(opts.BearerKeys),
		MaxBodyBytes: int64(s.MaxBody), Rate: s.RateLimit, Burst: s.RateBurst, AllowIPs: allowed,
		Success: success,
	}, nil
}

// proofOf says how a source authenticates.
func proofOf(k admit.Kind, o admit.Options) string {
	switch {
	case k.Name == "hmac":
		return o.Signature.String()
	case k.Name == "api_key" && o.Header != "":
		return "the secret in " + o.Header
	}
	return k.Proof
}

// typeOf is the content type of an answer that a person has written.
func typeOf(body string) string {
	switch text := strings.TrimSpace(body); {
	case strings.HasPrefix(text, "<"):
		return "text/xml; charset=utf-8"
	case strings.HasPrefix(text, "{"), strings.HasPrefix(text, "["):
		return "application/json"
	}
	return "text/plain; charset=utf-8"
}

// newSources makes the configured sources; the default one takes its keys from k.
func newSources(o Options, k credentials) ([]ingest.Source, error) {
	var sources []ingest.Source
	client := newAmazonClient(http.DefaultTransport)
	for _, name := range o.SourceNames() {
		source, err := o.newSource(name, k, client)
		if err != nil {
			return nil, err
		}
		sources = append(sources, source)
		// Test traffic has the keys and limits of the default source, and a name of its own.
		if name == ingest.DefaultSource && o.Sources[name].Kind == "envelope" {
			source.Name = hookgate.TestSource
			sources = append(sources, source)
		}
	}
	return sources, nil
}

// largestBody is the largest body that any source takes.
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

// CheckSources makes every source, and returns those that could be made and what is wrong with the
// others. Keys that the first start would make are not made.
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

// configuredKeys resolves the keys of the default source for a look at it without a gate: those
// that serve would make, or has made, are read if they are there, and else stand-ins.
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
		datadir.HmacSecret: &k.hmacSecrets} {
		key, err := o.dir().ReadKey(name)
		if err != nil {
			key = "is made by the first start of the gate"
		}
		*to = []string{key}
	}
	return k, nil
}

// SchemeOptions are those with which the gate would make the scheme of a source. Keys that the first
// start would make are not made.
func (o Options) SchemeOptions(name string) (admit.Options, error) {
	keys, err := o.configuredKeys(name)
	if err != nil {
		return admit.Options{}, err
	}
	return o.schemeOptions(name, keys, newAmazonClient(http.DefaultTransport))
}
