package admit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Options are what a configured source says about its scheme. Which of them a kind of source uses,
// and which it needs, its constructor states.
type Options struct {
	// BearerKeys and Secrets are all valid at once, so that they can be rotated.
	BearerKeys, Secrets []string
	// OrderingKey says where the ordering key stands.
	OrderingKey string
}

// kind is how a kind of source makes its scheme, and what it uses beside Secrets.
type kind struct {
	bearerKeys, orderingKey bool
	make                    func(Options) (Scheme, error)
}

var kinds = map[string]kind{
	"envelope": {bearerKeys: true, make: func(o Options) (Scheme, error) {
		return NewEnvelope(EnvelopeConfig{BearerKeys: o.BearerKeys, HMACSecrets: o.Secrets})
	}},
	"github": {orderingKey: true, make: func(o Options) (Scheme, error) {
		return NewGitHub(GitHubConfig{Secrets: o.Secrets, OrderingKeyPath: o.OrderingKey})
	}},
}

// Kinds returns the names that New understands, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// New returns the scheme of a source of the given kind. An error means that the configuration is wrong: it
// names the unknown kind, the option that the kind does not use, or what is wrong with one that it does.
func New(name string, o Options) (Scheme, error) {
	k, ok := kinds[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("source kind %q is unknown; the known ones are %s", name, strings.Join(Kinds(), ", "))
	case len(o.BearerKeys) > 0 && !k.bearerKeys:
		return nil, fmt.Errorf("source kind %s does not use bearer keys (BearerKeys)", name)
	case o.OrderingKey != "" && !k.orderingKey:
		return nil, fmt.Errorf("source kind %s does not use an ordering key path (OrderingKey)", name)
	}
	s, err := k.make(o)
	if err != nil {
		return nil, fmt.Errorf("source kind %s: %w", name, err)
	}
	return s, nil
}
