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

// Options are the settings of a source that its scheme needs. docs/reference/senders.md says which
// of them a kind uses and which it requires.
type Options struct {
	// BearerKeys and Secrets are all valid at once, so that they can be rotated.
	BearerKeys, Secrets []string
	// Places overrides the places of the kind.
	Places Places
	// Tolerance is how far the timestamp of a signature may be from now; zero means DefaultTolerance.
	Tolerance time.Duration
	// PublicURL is the URL that the sender calls, for kinds that sign it.
	PublicURL string
	// Signature says how the sender signs, for kind hmac.
	Signature Rule
	// Header is the header with the secret, for kind api_key.
	Header string
	// VerifyTokens are the tokens that confirm a subscription, for kind meta.
	VerifyTokens []string
	// Topics are the ARNs of the topics that may send, for kind sns. With Confirm the gate confirms
	// their subscriptions. Amazon fetches the certificates.
	Topics  []string
	Confirm bool
	Amazon  Amazon
	// Split is the place of the array whose elements are events: "json:PATH", or "json:@this" if the
	// body is the array. Empty means the default of the kind. Places are then relative to an element.
	Split string

	// repeats is kind.repeats, if the tolerance must cover it.
	repeats time.Duration
	// positions are the positions of Secrets in the configuration, from 1; nil if Secrets has all.
	positions []int
}

// Kind describes a kind of source before it is configured.
type Kind struct {
	// Name is the value of the setting kind. Sender is the name that people know.
	Name, Sender string
	// Proof says in a few words how a request is authenticated.
	Proof string
	// Places are the default places of what identifies an event.
	Places Places
	// Success is the response to an accepted request, for senders that require a special one.
	Success Success
	// Split is the default of Options.Split. Empty means that a request has one event.
	Split string
	// LargestBody is the size in bytes of the largest body that the sender documents, if that is
	// unusually large.
	LargestBody int64
	// Open says that the kind authenticates nobody.
	Open bool
}

// Success is the response to an accepted request. With Status 0 it is the default of the gate, a
// 202.
type Success struct {
	Status            int
	ContentType, Body string
}

// kind implements a Kind. The zero values mean: no rule, no handshake, any body.
type kind struct {
	Kind
	rule  Rule
	hint  string // end of the error about a missing signature
	proof func(Options) (proof, error)
	body  bodyKind
	// expected is the end of the error about a content type.
	expected string
	// repeats is for how long the sender repeats a webhook, if the repetition may have the time of the
	// first attempt. The tolerance covers it only if a repetition is certain to be a duplicate.
	repeats time.Duration
	// hashed returns the bytes that sha256:body hashes; nil: the body.
	hashed func(*Request) []byte
	handshake
	uses uses
	// scheme makes the scheme. If it is set, the fields above are not used.
	scheme func(Options) (Scheme, error)
	// identify finds the identity instead of Places.
	identify func(*source, *Request) (Message, error)
	sign     func(Options, *Request) error
	// splits says which requests are split; nil: all. element identifies an element of a split request
	// instead of Places.
	splits  func(*Request) bool
	element func(*Request) (Message, error)
}

// uses says which options a kind uses in addition to Secrets, Places and Tolerance.
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

// Names returns the names of all kinds, sorted.
func Names() []string { return slices.Sorted(maps.Keys(kinds)) }

// Find returns the kind with a name.
func Find(name string) (Kind, bool) {
	k, ok := kinds[name]
	if !ok {
		return Kind{}, false
	}
	return k.Kind, true
}

// New returns the scheme of a source of a kind. An error means that the configuration is wrong. It
// names the unknown kind, the option that the kind does not use, or the option that is wrong.
func New(name string, o Options) (Scheme, error) {
	k, ok := kinds[name]
	if !ok {
		return nil, fmt.Errorf("source kind %q is unknown; use one of %s", name,
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
			"message_id, event_type, ordering_key and sequence: their places are fixed"},
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
		// A body that is not an array is one event, even without an id.
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

// source is the Scheme of all kinds except the envelope.
type source struct {
	*kind
	proof    proof
	identity identity
	options  Options
	// splitting is nil if a request has one event.
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

// shakingSource is a source with a handshake.
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

// String describes the rule in a few words.
func (r Rule) String() string {
	r, _ = r.withDefaults()
	return fmt.Sprintf("%s of %s in %s", strings.ToUpper(r.Algorithm), r.Signed, r.Header)
}

// DefaultKeyHeader is the default header of kind api_key.
const DefaultKeyHeader = "X-Api-Key"

// genericKinds are for senders without a preset.
func genericKinds() []kind {
	// The event type is optional, because many senders have only one.
	places := Places{EventType: list("const:event")}
	bearer := func(o Options) (proof, error) { return newToken("Authorization", "Bearer ", o) }
	return []kind{
		{Kind: Kind{Name: "hmac", Sender: "any that signs", Proof: "as the setting signature says",
			Places: places},
			uses: uses{signature: true}, proof: func(o Options) (proof,
				error) {
				return newSigned(o.Signature, o, "")
			}},
		{Kind: Kind{Name: "bearer", Sender: "any", Proof: "Authorization: Bearer", Places: places},
			proof: bearer},
		{Kind: Kind{Name: "basic", Sender: "any", Proof: "Authorization: Basic", Places: places},
			proof: func(o Options) (proof, error) { return newBasic(o) }},
		{Kind: Kind{Name: "api_key", Sender: "any", Proof: "the secret in a header",
			Places: places},
			uses: uses{header: true}, proof: func(o Options) (proof, error) {
				if o.Header == "" {
					o.Header = DefaultKeyHeader
				}
				return newToken(o.Header, "", o)
			}},
		{Kind: Kind{Name: "none", Sender: "any", Proof: "none: everybody may send", Places: places,
			Open: true},
			proof: func(Options) (proof, error) { return open{}, nil }},
	}
}
