package admit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/hookgate/hookgate"
)

// identifyCloudEvent finds the identity of an event of the HTTP protocol binding of CloudEvents
// 1.0: in the headers (binary) or in the body (structured, application/cloudevents+json). A batch
// (application/cloudevents-batch+json) is split elsewhere. Source and id together identify a
// CloudEvent, so the message id is "SOURCE ID".
func identifyCloudEvent(_ *source, r *Request) (Message, error) {
	mediaType := mediaTypeOf(r)
	switch {
	case mediaType == cloudEventsBatch: // its body is not an array
		return messageOfBody(r), nil
	case mediaType == "application/cloudevents+json":
		return structuredEvent(r)
	case strings.HasPrefix(mediaType, "application/cloudevents"):
		return Message{}, fmt.Errorf("%w: Content-Type is %.100q; a CloudEvent in the body must be JSON",
			ErrUnsupportedMediaType, mediaType)
	}
	return binaryEvent(r)
}

const cloudEventsBatch = "application/cloudevents-batch+json"

func isCloudEventsBatch(r *Request) bool { return mediaTypeOf(r) == cloudEventsBatch }

func mediaTypeOf(r *Request) string {
	types := r.Header["Content-Type"]
	if len(types) != 1 {
		return ""
	}
	mediaType, _, _ := strings.Cut(types[0], ";")
	return strings.ToLower(strings.TrimSpace(mediaType))
}

// cloudEventAttributes are the attributes that identify an event. The last one is optional: if it
// is wrong, the event has no subject.
var cloudEventAttributes = [...]string{"specversion", "id", "type", "source", "subject"}

const subjectAttribute = len(cloudEventAttributes) - 1

func binaryEvent(r *Request) (Message, error) {
	var values [len(cloudEventAttributes)]string
	for i, name := range cloudEventAttributes {
		switch header := r.Header[http.CanonicalHeaderKey("ce-"+name)]; {
		case len(header) > 1 && i != subjectAttribute:
			return Message{}, &MalformedError{"ce-" + name, reasonTwice}
		case len(header) == 1:
			// A value is percent-encoded if a header could not hold it.
			text, err := url.PathUnescape(header[0])
			if err != nil && i != subjectAttribute {
				return Message{}, &MalformedError{"ce-" + name, "is not properly percent-encoded"}
			}
			values[i] = text
		}
	}
	return cloudEvent(values, "ce-")
}

func structuredEvent(r *Request) (Message, error) {
	var paths [len(cloudEventAttributes)]path
	for i, name := range cloudEventAttributes {
		paths[i] = path{name}
	}
	var f finder
	f.lookFor(paths[:], 1)
	if err := scan(r.content(), false, &f); err != nil {
		return Message{}, err
	}
	var values [len(cloudEventAttributes)]string
	for i, name := range cloudEventAttributes {
		raw, reason := f.raw(i, r.content()), ""
		switch {
		case f.ambiguous>>i&1 == 1:
			reason = reasonTwice
		case isNone(raw):
		case raw[0] != '"':
			reason = "is not a string"
		default:
			text, _ := unescape(nil, raw[1:len(raw)-1], noLimit)
			values[i] = string(text)
		}
		if reason != "" && i != subjectAttribute {
			return Message{}, &MalformedError{name, reason}
		}
	}
	return cloudEvent(values, "")
}

func cloudEvent(values [len(cloudEventAttributes)]string, prefix string) (Message, error) {
	for i, name := range cloudEventAttributes[:4] {
		if values[i] == "" {
			return Message{}, &MalformedError{prefix + name, "is missing"}
		}
	}
	version, id, eventType, source, subject := values[0], values[1], values[2], values[3], values[4]
	if version != "1.0" {
		return Message{}, &MalformedError{prefix + "specversion", "is not 1.0"}
	}
	if strings.Contains(source, " ") {
		return Message{}, &MalformedError{prefix + "source",
			"has a space, which a URI reference cannot have"}
	}
	m := Message{MessageID: source + " " + id, EventType: eventType, OrderingKey: source,
		Sequence: hookgate.NoSequence, Keyed: true}
	if subject != "" {
		m.OrderingKey = source + " " + subject
	}
	m.MessageID, m.EventType, m.OrderingKey = identify(m.MessageID), identify(m.EventType),
		identify(m.OrderingKey)
	return m, nil
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
