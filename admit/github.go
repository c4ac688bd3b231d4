package admit

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"github.com/hookgate/hookgate"
	"github.com/tidwall/gjson"
)

// GitHubConfig describes a GitHub webhook.
type GitHubConfig struct {
	// Secrets are those of the webhook; at least one, all of them valid, so that they can be rotated.
	Secrets []string
	// OrderingKeyPath says where in the body the ordering key stands: member names and array indexes
	// joined by dots, such as "repository.full_name". Empty: the event type is the ordering key.
	OrderingKeyPath string
}

type gitHub struct {
	signature signature
	path      string
}

// NewGitHub returns the scheme of GitHub's webhooks: "X-Hub-Signature-256: sha256=HEX" over the body,
// the message id in X-GitHub-Delivery and the event type in X-GitHub-Event, each a single value
// of 1 to MaxIdentityBytes bytes of UTF-8 without control characters. There is no sequence.
//
// The body must be a JSON object within the limits that NewEnvelope states. Content-Type may be missing;
// GitHub's form encoding is refused with ErrUnsupportedMediaType.
//
// The ordering key is the string at OrderingKeyPath, or the number as it is written there. An event
// that has nothing, null or an empty string there is ordered by its type: GitHub's events differ in what they
// carry, and it does not send again what was refused. An object, array or boolean there is
// a *MalformedError, because then the path itself is wrong. If a body has several members with one name,
// one of those that the path fits is taken, always the same for the same bytes.
//
// An error names an empty secret or what is wrong with the path.
func NewGitHub(c GitHubConfig) (Scheme, error) {
	if len(c.Secrets) == 0 {
		return nil, errNoCredentials
	}
	sig, err1 := newSignature("X-Hub-Signature-256", c.Secrets)
	if err := errors.Join(err1, checkPath(c.OrderingKeyPath)); err != nil {
		return nil, err
	}
	return &gitHub{sig, c.OrderingKeyPath}, nil
}

// checkPath refuses what gjson would take for more than member names and array indexes: queries, modifiers,
// wildcards, pipes, literals.
func checkPath(path string) error {
	if path == "" {
		return nil
	}
	for name := range strings.SplitSeq(path, ".") {
		if name == "" {
			return fmt.Errorf("ordering key path %q has an empty part; write it like repository.full_name", path)
		}
		for _, r := range name {
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-$/", r) {
				return fmt.Errorf("ordering key path %q holds %q; only member names (letters, digits, _ - $ /)"+
					" and array indexes joined by dots are understood", path, r)
			}
		}
	}
	return nil
}

func (g *gitHub) CheckHeader(h http.Header) error {
	_, signed, err := g.signature.parse(h)
	return g.signed(signed, err)
}

func (g *gitHub) Authenticate(h http.Header, body []byte) error {
	signed, err := g.signature.check(h, body)
	return g.signed(signed, err)
}

func (g *gitHub) signed(present bool, err error) error {
	if err == nil && !present {
		return unauthenticated(g.signature.header, "is missing; set a secret in the webhook's settings")
	}
	return err
}

func (g *gitHub) Identify(h http.Header, body []byte) (Message, error) {
	if err := checkJSONContent(h, "set the webhook's content type to application/json"); err != nil {
		return Message{}, err
	}
	id, err := identityHeader(h, "X-GitHub-Delivery")
	if err != nil {
		return Message{}, err
	}
	event, err := identityHeader(h, "X-GitHub-Event")
	if err != nil {
		return Message{}, err
	}
	if _, err := scanObject(body); err != nil {
		return Message{}, err
	}
	key, err := g.orderingKey(body)
	if err != nil {
		return Message{}, err
	}
	if key == "" {
		key = event
	}
	return Message{MessageID: id, EventType: event, OrderingKey: key, Sequence: hookgate.NoSequence}, nil
}

func identityHeader(h http.Header, name string) (string, error) {
	values := h.Values(name)
	reason := ""
	switch len(values) {
	case 0:
		reason = "is missing"
	case 1:
		reason = checkIdentity(values[0])
	default:
		reason = "occurs more than once"
	}
	if reason != "" {
		return "", &MalformedError{name, reason}
	}
	return values[0], nil
}

// orderingKey returns the key that stands in a body which scanObject has accepted, or nothing.
func (g *gitHub) orderingKey(body []byte) (key string, err error) {
	if g.path == "" {
		return "", nil
	}
	found := gjson.GetBytes(body, g.path)
	reason := ""
	switch found.Type {
	case gjson.Null:
		return "", nil
	case gjson.String:
		if found.Raw == `""` {
			return "", nil
		}
		// Our own decoder, because gjson's turns every broken surrogate into the same U+FFFD.
		key, reason = identityString([]byte(found.Raw))
	case gjson.Number:
		key = found.Raw
		reason = checkIdentity(key)
	default:
		reason = "is neither a string nor a number"
	}
	if reason != "" {
		return "", &MalformedError{g.path, reason}
	}
	return key, nil
}
