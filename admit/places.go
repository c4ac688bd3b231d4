package admit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hookgate/hookgate"
)

// Places say where a source's events have what identifies them. Each is a list, of which the first
// place that has something counts.
type Places struct {
	MessageID, EventType, OrderingKey, Sequence []Place
}

// Place is where one value stands: "header:NAME", "json:PATH", "form:FIELD", "sha256:body",
// "sha256:body-without:PATH+PATH", "request:id" (each request is an event of its own) or
// "const:VALUE"; a text without a kind is a path in JSON. Several are one composite value, which is
// there only if each of its parts is.
type Place []string

// UnmarshalText makes p the single place that a configuration names.
func (p *Place) UnmarshalText(text []byte) error {
	*p = Place{string(text)}
	return nil
}

// over lays p over the places of a preset.
func (p Places) over(base Places) Places {
	for _, f := range []struct{ to, from *[]Place }{
		{&base.MessageID, &p.MessageID}, {&base.EventType, &p.EventType},
		{&base.OrderingKey, &p.OrderingKey}, {&base.Sequence, &p.Sequence},
	} {
		if len(*f.from) > 0 {
			*f.to = *f.from
		}
	}
	return base
}

// identity finds a Message where Places say.
type identity struct {
	messageID, eventType, orderingKey, sequence alternatives
	paths                                       []path
	longest                                     int
	body                                        bodyKind
	// ends the error about a content type
	expected string
	hasJSON  bool                  // some place reads JSON
	hashed   func(*Request) []byte // nil: the body
	// proven says that the sender's signature covers the message id.
	proven bool
}

// alternatives are places of which the first that has something counts.
type alternatives struct {
	list [][]place
	// composite says that at least one of them has several parts. The text of each is then that of
	// a list, so that no value of one looks like the parts of another.
	composite bool
}

// covered reports whether a proof covers all places.
func (a *alternatives) covered(p proof) bool {
	for _, parts := range a.list {
		for _, at := range parts {
			if !covers(p, at) {
				return false
			}
		}
	}
	return true
}

// alone reports whether a proof covers all places, and each alternative is an id by itself and not
// only among the events of one type: it has a hash of the body, or Mailgun's token.
func (a *alternatives) alone(p proof) bool {
	_, isMailgun := p.(mailgun)
	for _, parts := range a.list {
		if !slices.ContainsFunc(parts, func(at place) bool {
			return at.kind == placeHash || isMailgun &&
				at.name == mailgunToken
		}) {
			return false
		}
	}
	return a.covered(p)
}

func newIdentity(p Places, body bodyKind, expected string) (identity, error) {
	id := identity{body: body, expected: expected}
	for _, f := range []struct {
		name   string
		to     *alternatives
		places []Place
	}{
		{"message_id", &id.messageID, p.MessageID}, {"event_type", &id.eventType, p.EventType},
		{"ordering_key", &id.orderingKey, p.OrderingKey}, {"sequence", &id.sequence, p.Sequence},
	} {
		if err := id.add(f.to, f.places); err != nil {
			return id, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	id.longest = longestOf(id.paths)
	if len(id.messageID.list) == 0 {
		return id, fmt.Errorf("message_id is missing: say where the message id stands (%s)", placeForms)
	}
	return id, nil
}

// add compiles places.
func (id *identity) add(to *alternatives, places []Place) error {
	for _, composite := range places {
		if len(composite) == 0 {
			return errors.New("a composite has no places; write it like [json:order, json:line]")
		}
		to.composite = to.composite || len(composite) > 1
		var parts []place
		for _, text := range composite {
			at, err := parsePlace(text)
			if err == nil && at.kind == placeJSON {
				at.path, err = id.addPath(at.name)
			}
			if err != nil {
				return err
			}
			id.hasJSON = id.hasJSON || at.kind == placeJSON || at.omit != nil
			parts = append(parts, at)
		}
		to.list = append(to.list, parts)
	}
	return nil
}

// addPath returns the index of a path in id.paths.
func (id *identity) addPath(text string) (int, error) {
	for i, p := range id.paths {
		if strings.Join(p, ".") == text {
			return i, nil
		}
	}
	if len(id.paths) == maxPaths {
		return 0, fmt.Errorf("there are more than %d paths", maxPaths)
	}
	p, err := parsePath(text)
	id.paths = append(id.paths, p)
	return len(id.paths) - 1, err
}

// find returns what identifies an authentic request.
func (id *identity) find(r *Request) (Message, error) {
	if err := checkContentType(r.Header, id.body, id.expected); err != nil {
		return Message{}, err
	}
	// Content-Type is hardly ever signed: it must not decide which of two events a body is.
	c := content{Request: r, hashed: id.hashed}
	looksJSON := beginsJSON(r.content())
	c.isForm = !looksJSON && (id.body == bodyAny || id.body == bodyJSONOrForm)
	c.finder.lookFor(id.paths, id.longest)
	if strict := id.body.strictJSON(c.isForm); strict || id.hasJSON && looksJSON {
		err := scan(r.content(), id.body != bodyObject, &c.finder)
		switch {
		case err == nil:
			c.isJSON = true
		case strict:
			return Message{}, err
		default:
			c.finder = finder{}
			c.finder.lookFor(id.paths, id.longest)
		}
	}
	m := Message{Sequence: hookgate.NoSequence}
	var err error
	if m.MessageID, err = id.messageID.require(everyPlace, &c); err != nil {
		return Message{}, id.explain(err, &c)
	}
	// Content-Encoding is never signed either: without it the type would be another.
	if id.proven && id.hasJSON && r.Content == nil && bytes.HasPrefix(r.Body, gzipMagic) {
		return Message{}, malformedBody("is compressed with gzip, but Content-Encoding does not say so")
	}
	if m.EventType = id.eventType.first(&c); m.EventType == "" {
		m.EventType = noEventType
	}
	m.OrderingKey = id.orderingKey.first(&c)
	m.orderByType()
	if n, ok := parseSequence(id.sequence.first(&c)); ok {
		m.Sequence = n
	}
	return m, nil
}

// explain adds to an error about the message id why no JSON was found in the body, if the id may
// stand in JSON. The request is authentic, so that its sender may know.
func (id *identity) explain(err error, c *content) error {
	inJSON := slices.ContainsFunc(id.messageID.list, func(parts []place) bool {
		return slices.ContainsFunc(parts, func(p place) bool { return p.kind == placeJSON })
	})
	var missing, why *MalformedError
	if !errors.As(err, &missing) {
		return err
	}
	reason := missing.Reason
	if inJSON && !c.isJSON && errors.As(scan(c.content(), id.body != bodyObject, nil), &why) {
		reason += ": the " + why.Error()
	}
	if missing.Field == everyPlace {
		reason += " (it looks at " + id.messageID.String() + ")"
	}
	return &MalformedError{missing.Field, reason}
}

// everyPlace is the field of an error about no single place.
const everyPlace = "messageId"

// String lists the places as they are configured.
func (a *alternatives) String() string {
	var all []string
	for _, parts := range a.list {
		var texts []string
		for _, p := range parts {
			texts = append(texts, p.String())
		}
		text := strings.Join(texts, ", ")
		if len(parts) > 1 {
			text = "[" + text + "]"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

var gzipMagic = []byte{0x1f, 0x8b}

// beginsJSON reports whether a body begins as a JSON object or array does.
func beginsJSON(body []byte) bool {
	body = bytes.TrimLeft(bytes.TrimPrefix(body, byteOrderMark), " \t\r\n")
	return len(body) > 0 && (body[0] == '{' || body[0] == '[')
}

// noEventType is the type of an event for which the source finds none.
const noEventType = "event"

// require returns the value of the first alternative that has one. Nothing, or only a value that
// has two meanings, is an error: without its message id an event cannot be told from another.
func (a *alternatives) require(what string, c *content) (string, error) {
	for i, parts := range a.list {
		text, wrong, reason := c.join(parts, a.composite)
		switch {
		// some senders have an object or its id in one place
		case reason == reasonNotScalar && i < len(a.list)-1:
		case reason != "":
			return "", &MalformedError{wrong, reason}
		case text != "":
			return text, nil
		}
	}
	only := a.list[0][0]
	switch {
	case len(a.list) != 1 || a.composite:
		return "", &MalformedError{what, "is at none of the places where this source looks for it"}
	case only.kind == placeHeader && len(c.Header[only.header]) > 0:
		return "", &MalformedError{only.name, "is empty"}
	default:
		return "", &MalformedError{only.name, "is missing"}
	}
}

// first returns the value of the first alternative that has one, or nothing. An authentic event is
// never refused for an optional value, so a value that has two meanings counts as none.
func (a *alternatives) first(c *content) string {
	for _, parts := range a.list {
		if text, _, reason := c.join(parts, a.composite); reason == "" && text != "" {
			return text
		}
	}
	return ""
}

// join returns the value of one alternative. With composite it is the values of all parts behind
// one another, with a comma between them and a backslash before each comma and backslash within:
// no two lists of parts give one text. The name of the part that is wrong stands beside a reason.
func (c *content) join(parts []place, composite bool) (text, wrong, reason string) {
	if !composite {
		text, reason = parts[0].value(c)
		return text, parts[0].name, reason
	}
	for i, p := range parts {
		part, reason := p.value(c)
		if part == "" || reason != "" {
			return "", p.name, reason
		}
		if strings.ContainsAny(part, `,\`) {
			part = escapeParts.Replace(part)
		}
		if i > 0 {
			text += ","
		}
		text += part
	}
	return identify(text), "", ""
}

var escapeParts = strings.NewReplacer(`\`, `\\`, `,`, `\,`)
