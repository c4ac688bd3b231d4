package admit

import (
	"fmt"
	"strings"

	"github.com/hookgate/hookgate"
)

// Places say where a source's events have what identifies them. Each is a list, of which the first place that has something
// counts: "header:NAME", "json:PATH", "form:FIELD", "sha256:body", "request:id" (each request is an event of its own),
// "const:VALUE"; what has no kind is a path in JSON.
type Places struct {
	MessageID, EventType, OrderingKey, Sequence []string
}

// over lays p over the places of a preset.
func (p Places) over(base Places) Places {
	for _, f := range []struct{ to, from *[]string }{
		{&base.MessageID, &p.MessageID}, {&base.EventType, &p.EventType}, {&base.OrderingKey, &p.OrderingKey}, {&base.Sequence, &p.Sequence},
	} {
		if len(*f.from) > 0 {
			*f.to = *f.from
		}
	}
	return base
}

// identity finds a Message where Places say.
type identity struct {
	messageID, eventType, orderingKey, sequence []place
	paths                                       []path
	longest                                     int
	body                                        bodyKind
	expected                                    string // ends the error about a content type
}

func newIdentity(p Places, body bodyKind, expected string) (identity, error) {
	id := identity{body: body, expected: expected}
	for _, f := range []struct {
		name   string
		to     *[]place
		places []string
	}{
		{"message_id", &id.messageID, p.MessageID}, {"event_type", &id.eventType, p.EventType},
		{"ordering_key", &id.orderingKey, p.OrderingKey}, {"sequence", &id.sequence, p.Sequence},
	} {
		for _, text := range f.places {
			at, err := parsePlace(text)
			if err == nil && at.kind == placeJSON {
				at.path, err = id.addPath(at.name)
			}
			if err != nil {
				return id, fmt.Errorf("%s: %w", f.name, err)
			}
			*f.to = append(*f.to, at)
		}
	}
	id.longest = longestOf(id.paths)
	if len(id.messageID) == 0 {
		return id, fmt.Errorf("message_id is missing: say where the message id stands (%s)", placeForms)
	}
	return id, nil
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
	isForm := isFormType(r.Header)
	var f finder
	f.lookFor(id.paths, id.longest)
	if strict := id.body.strictJSON(isForm); strict || len(id.paths) > 0 && !isForm {
		err := scan(r.content(), id.body != bodyObject, &f)
		switch {
		case err != nil && strict:
			return Message{}, err
		case err != nil:
			f.lookFor(id.paths, id.longest)
			clear(f.spans[:])
		case f.twice != noPath:
			return Message{}, &MalformedError{strings.Join(id.paths[f.twice], "."), "occurs more than once"}
		}
	}
	m := Message{Sequence: hookgate.NoSequence}
	var err error
	if m.MessageID, err = pick("messageId", id.messageID, true, r, &f, isForm); err != nil {
		return Message{}, err
	}
	if m.EventType, err = pick("eventType", id.eventType, true, r, &f, isForm); err != nil {
		return Message{}, err
	}
	if m.OrderingKey, err = pick("orderingKey", id.orderingKey, false, r, &f, isForm); err != nil {
		return Message{}, err
	}
	if m.OrderingKey == "" {
		m.OrderingKey = m.EventType
	}
	sequence, err := pick("sequence", id.sequence, false, r, &f, isForm)
	if err != nil {
		return Message{}, err
	}
	if sequence != "" {
		n, ok := parseSequence(sequence)
		if !ok {
			return Message{}, &MalformedError{"sequence", reasonSequence}
		}
		m.Sequence = n
	}
	return m, nil
}

// pick returns the value of the first place that has one.
func pick(what string, places []place, required bool, r *Request, f *finder, isForm bool) (string, error) {
	for i, p := range places {
		text, reason := p.value(r, f, isForm)
		if reason == reasonNotScalar && i < len(places)-1 {
			continue // some senders have an object or its id in one place
		}
		if reason != "" {
			return "", &MalformedError{p.name, reason}
		}
		if text != "" {
			return text, nil
		}
	}
	switch {
	case !required:
		return "", nil
	case len(places) != 1:
		return "", &MalformedError{what, "is at none of the places where this source looks for it"}
	case places[0].kind == placeHeader && len(r.Header[places[0].header]) > 0:
		return "", &MalformedError{places[0].name, "is empty"}
	default:
		return "", &MalformedError{places[0].name, "is missing"}
	}
}
