package admit

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Options are what a configured source says about its scheme. Which of them a kind of source uses
// beside Secrets and Places, and which it needs, docs/reference/senders.md states.
type Options struct {
	// BearerKeys and Secrets are all valid at once, so that they can be rotated.
	BearerKeys, Secrets []string
	// Places overrides where the kind looks for what identifies an event.
	Places Places
	// Tolerance is how far the timestamp of a signature may be from now; zero means DefaultTolerance.
	Tolerance time.Duration
	// PublicURL is what the sender was told to call, for kinds that sign it.
	PublicURL string
	// Signature is how the sender signs, for kind hmac.
	Signature Rule
	// Header holds the secret, for kind api_key.
	Header string
	// VerifyTokens are those that a subscription is confirmed with, for kind meta.
	VerifyTokens []string
	// Topics are the ARNs of the topics that may send, for kind sns; with Confirm their subscriptions
	// are confirmed. Amazon is how its certificates are found.
	Topics  []string
	Confirm bool
	Amazon  Amazon
	// Split is where the array stands of which each element is an event of its own: "json:PATH", or
	// "json:@this" if the body is the array. Empty means what the kind does. Places are then relative
	// to an element.
	Split string

	// repeats is that of the kind, where the tolerance is to cover it.
	repeats time.Duration
	// positions are those of Secrets in the configuration, from 1; nil if these are all of them.
	positions []int
}

// Kind is what is known of a kind of source before it is configured.
type Kind struct {
	// Name is what a configuration calls it; Sender is the name that people know.
	Name, Sender string
	// Proof says in a few words how its requests are authenticated.
	Proof string
	// Places are where it looks for what identifies an event, unless the configuration says otherwise.
	Places Places
	// Success is what an accepted delivery is answered, for senders that insist on it.
	Success Success
	// Split is where its requests have an array of events, unless the configuration says otherwise;
	// see Options.Split. Empty means that a request is one event.
	Split string
	// LargestBody is the size in bytes of the largest that its sender documents, if that is more than
	// most send.
	LargestBody int64
	// Open says that it authenticates nobody.
	Open bool
}

// Success is the answer to an accepted delivery; with Status 0 it is the gate's own, a 202.
type Success struct {
	Status            int
	ContentType, Body string
}

// kind is how a kind of source is made. The zero value of each field has its meaning: no rule, no
// handshake, any body.
type kind struct {
	Kind
	rule  Rule
	hint  string // ends the error about a missing signature
	proof func(Options) (proof, error)
	body  bodyKind
	// expected ends the error about a content type.
	expected string
	// repeats is for how long the sender repeats a webhook, if that may come with the time of the
	// first attempt. Its tolerance covers it where a repetition is certain to be a duplicate.
	repeats time.Duration
	// hashed returns what sha256:body is the hash of; nil: the body.
	hashed func(*Request) []byte
	handshake
	uses uses
	// scheme makes the scheme in place of all this.
	scheme func(Options) (Scheme, error)
	// identify finds the identity in place of Places.
	identify func(*source, *Request) (Message, error)
	sign     func(Options, *Request) error
	// splits says which requests are divided; nil means all. element identifies an element of such a
	// request in place of Places.
	splits  func(*Request) bool
	element func(*Request) (Message, error)
}

// uses says which options a kind uses beside Secrets, Places and Tolerance.
type uses struct{ bearerKeys, signature, header, verifyTokens, topics, noSecrets, fixedPlaces bool }

var kinds = func() map[string]*kind {
	byName := map[string]*kind{}
	for _, list := range [][]kind{ownKinds(), genericKinds(), presets()} {
		for _, k := range list {
			if k.Proof == "" {
				k.Proof = k.rule.String()
			}
			byName[k.Name] = &k
		}
	}
	return byName
}()

func ownKinds() []kind {
	return []kind{{
		Kind: Kind{Name: "envelope", Sender: "own senders",
			Proof: "Authorization: Bearer, or HMAC-SHA256 of {body} in X-Webhook-Signature",
			Places: Places{list("json:messageId"), list("json:eventType"), list("json:orderingKey"),
				list("json:sequence")}},
		uses: uses{bearerKeys: true, fixedPlaces: true},
		scheme: func(o Options) (Scheme, error) {
			return NewEnvelope(EnvelopeConfig{BearerKeys: o.BearerKeys, HMACSecrets: o.Secrets})
		},
	}}
}

// Names returns the names of the kinds that New understands, sorted.
func Names() []string { return slices.Sorted(maps.Keys(kinds)) }

// Find returns what is known of a kind.
func Find(name string) (Kind, bool) {
	k, ok := kinds[name]
	if !ok {
		return Kind{}, false
	}
	return k.Kind, true
}

// New returns the scheme of a source of the given kind. An error means that the configuration is
// wrong: it names the unknown kind, the option that the kind does not use, or what is wrong with
// one that it does.
func New(name string, o Options) (Scheme, error) {
	k, ok := kinds[name]
	if !ok {
		return nil, fmt.Errorf("source kind %q is unknown; the known ones are %s", name,
			strings.Join(Names(), ", "))
	}
	s, err := k.make(o)
	if err != nil {
		return nil, fmt.Errorf("source kind %s: %w", name, err)
	}
	return s, nil
}

func (k *kind) make(o Options) (Scheme, error) {
	for _, c := range []struct {
		set, used bool
		what      string
	}{
		{len(o.BearerKeys) > 0, k.uses.bearerKeys, "bearer_keys"},
		{!o.Signature.isZero(), k.uses.signature, "signature"},
		{o.Header != "", k.uses.header, "header"},
		{len(o.VerifyTokens) > 0, k.uses.verifyTokens, "verify_tokens"},
		{len(o.Places.MessageID)+len(o.Places.EventType)+len(o.Places.OrderingKey)+
			len(o.Places.Sequence) > 0, !k.uses.fixedPlaces,
			"message_id, event_type, ordering_key and sequence: where they stand is fixed"},
		{o.Split != "", !k.uses.fixedPlaces, "split"},
		{len(o.Topics) > 0 || o.Confirm, k.uses.topics, "topics and confirm_subscriptions"},
		{len(o.Secrets) > 0, !k.Open && !k.uses.noSecrets, "secrets"},
	} {
		if c.set && !c.used {
			return nil, fmt.Errorf("it does not use %s", c.what)
		}
	}
	if o.Tolerance < 0 {
		return nil, errors.New("tolerance is negative")
	}
	o.Secrets, o.VerifyTokens, o.Topics = slices.Clone(o.Secrets), slices.Clone(o.VerifyTokens),
		slices.Clone(o.Topics)
	formErr := k.checkForms(o)
	if k.scheme != nil {
		s, err := k.scheme(o)
		return s, errors.Join(formErr, err)
	}
	makeProof := k.proof
	if makeProof == nil {
		makeProof = func(o Options) (proof, error) { return newSigned(k.rule, o, k.hint) }
	}
	p, err1 := makeProof(o)
	expected := k.expected
	if expected == "" {
		expected = expectJSON
	}
	places := o.Places.over(k.Places)
	id, err2 := newIdentity(places, k.body, expected)
	if err := errors.Join(formErr, err1, err2); err != nil {
		return nil, err
	}
	s := &source{kind: k, proof: p, identity: id, options: o}
	if at := cmp.Or(o.Split, k.Split); at != "" {
		if s.splitting, err1 = newSplitting(at, places); err1 != nil {
			return nil, err1
		}
		// A body that is no array is one event, whether or not it has an id.
		s.identity = s.splitting.element
		s.identity.body, s.identity.expected = k.body, expected
	}
	s.identity.hashed = k.hashed
	typed := s.identity.eventType.covered(p)
	s.identity.proven = s.identity.messageID.covered(p)
	s.typeUnproven = s.identity.messageID.alone(p) && !typed
	if k.repeats > 0 && s.identity.proven && (typed || s.typeUnproven) {
		o.repeats = k.repeats
		if s.proof, err1 = makeProof(o); err1 != nil {
			return nil, err1
		}
	}
	if k.handshake.greet == nil && k.handshake.reply == nil && k.handshake.isPing == nil {
		return s, nil
	}
	return &shakingSource{s}, nil
}

// source is the Scheme of everything but the envelope.
type source struct {
	*kind
	proof    proof
	identity identity
	options  Options
	// splitting is nil if a request is one event.
	splitting *splitting
	// typeUnproven is what TypeUnproven reports.
	typeUnproven bool
}

// CheckHeader implements Scheme.
func (s *source) CheckHeader(r *Request) error { return s.proof.checkHeader(r) }

// Authenticate implements Scheme.
func (s *source) Authenticate(r *Request) error { return s.proof.authenticate(r) }

// Identify implements Scheme.
func (s *source) Identify(r *Request) (Message, error) {
	if s.kind.identify != nil {
		return s.kind.identify(s, r)
	}
	return s.identity.find(r)
}

// shakingSource is a source whose sender tries out its endpoint.
type shakingSource struct{ *source }

// Methods implements Handshaker.
func (s *shakingSource) Methods() []string { return s.methods }

// Greet implements Handshaker.
func (s *shakingSource) Greet(r *Request) (*Answer, error) {
	if s.greet == nil {
		return nil, nil
	}
	return s.greet(s.source, r)
}

// Reply implements Handshaker.
func (s *shakingSource) Reply(r *Request) (*Answer, error) {
	if s.reply == nil {
		return nil, nil
	}
	return s.reply(s.source, r)
}

// MayPing implements Handshaker.
func (s *shakingSource) MayPing(r *Request) bool {
	return s.mayPing != nil && r.Method == http.MethodPost && s.mayPing(r.Header)
}

// Ping implements Handshaker.
func (s *shakingSource) Ping(r *Request) *Answer {
	if !s.MayPing(r) || len(r.Body) > MaxPing || !s.isPing(r.Body) {
		return nil
	}
	return &Answer{Status: http.StatusOK}
}

// String says in a few words how a sender signs.
func (r Rule) String() string {
	r, _ = r.withDefaults()
	return fmt.Sprintf("%s of %s in %s", strings.ToUpper(r.Algorithm), r.Signed, r.Header)
}

// defaultKeyHeader is where kind api_key looks if it is not told.
const defaultKeyHeader = "X-Api-Key"

// genericKinds are those for senders without a preset.
func genericKinds() []kind {
	// A type is not asked for: many senders have only one.
	places := Places{EventType: list("const:event")}
	bearer := func(o Options) (proof, error) { return newToken("Authorization", "Bearer ", o) }
	return []kind{
		{Kind: Kind{Name: "hmac", Sender: "any that signs", Proof: "as signature says", Places: places},
			uses: uses{signature: true}, proof: func(o Options) (proof,
				error) {
				return newSigned(o.Signature, o, "")
			}},
		{Kind: Kind{Name: "bearer", Sender: "any", Proof: "Authorization: Bearer", Places: places},
			proof: bearer},
		{Kind: Kind{Name: "basic", Sender: "any", Proof: "Authorization: Basic", Places: places},
			proof: func(o Options) (proof, error) { return newBasic(o) }},
		{Kind: Kind{Name: "api_key", Sender: "any", Proof: "a header that holds the secret",
			Places: places},
			uses: uses{header: true}, proof: func(o Options) (proof, error) {
				if o.Header == "" {
					o.Header = defaultKeyHeader
				}
				return newToken(o.Header, "", o)
			}},
		{Kind: Kind{Name: "none", Sender: "any", Proof: "nothing: everyone is let in", Places: places,
			Open: true},
			proof: func(Options) (proof, error) { return open{}, nil }},
	}
}
