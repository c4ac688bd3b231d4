package admit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hookgate/hookgate"
)

// Places say where a source's events have what identifies them. In each list the first place with a
// value counts.
type Places struct {
	MessageID, EventType, OrderingKey, Sequence []Place
}

// Place is the place of one value: "header:NAME", "json:PATH", "form:FIELD", "sha256:body",
// "sha256:body-without:PATH+PATH", "request:id" (each request is an event of its own) or
// "const:VALUE". A text without a kind is a path in JSON. Several texts are one composite value,
// which exists only if each part has a value.
type Place []string

// UnmarshalText parses a single place.
func (p *Place) UnmarshalText(text []byte) error {
	*p = Place{string(text)}
	return nil
}

// over returns base with the lists that p sets.
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

// identity finds a Message at Places.
type identity struct {
	messageID, eventType, orderingKey, sequence alternatives
	paths                                       []path
	longest                                     int
	body                                        bodyKind
	// end of the error about a content type
	expected string
	hasJSON  bool                  // a place is in JSON
	hashed   func(*Request) []byte // nil: the body
	// proven says that the sender's signature covers the message id.
	proven bool
}

// alternatives are places, of which the first with a value counts.
type alternatives struct {
	list [][]place
	// composite says that at least one of them has several parts. Then each value is written as a
	// list, so that no value of one looks like the parts of another.
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

// alone reports whether a proof covers all places and each alternative is unique over all event
// types: it has a hash of the body, or Mailgun's token.
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
		return id, fmt.Errorf("message_id is missing: set it to the place of the message id (%s)",
			placeForms)
	}
	return id, nil
}

// add parses places.
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
	// Content-Type is almost never signed, so it must not decide how a body is read.
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
	// Content-Encoding is never signed. Without it the event would get another type.
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

// explain completes an error about the message id with the places, and with why the body is not
// JSON if a place is in JSON. The request is authentic, so its sender may see that.
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
		reason += " (" + id.messageID.String() + ")"
	}
	return &MalformedError{missing.Field, reason}
}

// everyPlace is the field of an error that is about all places.
const everyPlace = "messageId"

// String lists the places as configured.
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

// beginsJSON reports whether a body begins like a JSON object or array.
func beginsJSON(body []byte) bool {
	body = bytes.TrimLeft(bytes.TrimPrefix(body, byteOrderMark), " \t\r\n")
	return len(body) > 0 && (body[0] == '{' || body[0] == '[')
}

// noEventType is the event type if the source finds none.
const noEventType = "event"

// require returns the value of the first alternative that has one. No value, or an ambiguous one,
// is an error, because an event needs its message id.
func (a *alternatives) require(what string, c *content) (string, error) {
	for i, parts := range a.list {
		text, wrong, reason := c.join(parts, a.composite)
		switch {
		// some senders have either an object or its id at one place
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
		return "", &MalformedError{what, "is at none of the configured places"}
	case only.kind == placeHeader && len(c.Header[only.header]) > 0:
		return "", &MalformedError{only.name, "is empty"}
	default:
		return "", &MalformedError{only.name, "is missing"}
	}
}

// first returns the value of the first alternative that has one, or nothing. An ambiguous value
// counts as none, because an authentic event is never rejected for an optional field.
func (a *alternatives) first(c *content) string {
	for _, parts := range a.list {
		if text, _, reason := c.join(parts, a.composite); reason == "" && text != "" {
			return text
		}
	}
	return ""
}

// join returns the value of one alternative. If composite is true, it joins the values of all parts
// with commas. A comma or backslash in a value gets a backslash before it, so different parts never
// give the same text. With a reason, wrong is the name of the part.
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
