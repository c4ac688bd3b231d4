package admit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Sample is a request like those of a source's sender, without credentials.
type Sample struct {
	Header http.Header
	Body   []byte
}

// sampleText is the event type and the ordering key of a sample.
const sampleText = "test"

// SampleOf returns a sample for a source of a kind. It has the message id, an event type and an
// ordering key at the first place of each. The body always has the id.
func SampleOf(name string, o Options, id string) (Sample, error) {
	k, ok := kinds[name]
	if !ok {
		return Sample{}, fmt.Errorf("source kind %q is unknown", name)
	}
	s := sampling{header: http.Header{}, form: url.Values{}}
	places := o.Places.over(k.Places)
	for _, one := range []struct {
		places []Place
		value  string
	}{{places.MessageID, id}, {places.EventType, sampleText}, {places.OrderingKey, sampleText}} {
		if len(one.places) > 0 {
			s.put(one.places[0], one.value)
		}
	}
	rule := k.rule
	if k.uses.signature {
		rule = o.Signature
	}
	if t, err := parseTemplate(rule.Signed, true); err == nil {
		t.headers(func(name string) error {
			s.setHeader(name, id)
			return nil
		})
	}
	if name == "cloudevents" {
		s.setHeader("Ce-Specversion", "1.0")
	}
	if len(s.form) > 0 {
		s.form.Set("test", id)
		s.setHeader("Content-Type", "application/x-www-form-urlencoded")
		return Sample{s.header, []byte(s.form.Encode())}, nil
	}
	s.setHeader("Content-Type", "application/json")
	body := setPath(s.body, path{"test"}, id)
	if at := cmp.Or(o.Split, k.Split); at != "" && k.splits == nil {
		body = []any{body}
		if at = strings.TrimPrefix(at, "json:"); at != thisBody {
			body = setPath(nil, strings.Split(at, "."), body)
		}
	}
	text, err := json.Marshal(body)
	return Sample{s.header, text}, err
}

// sampling builds a sample.
type sampling struct {
	header http.Header
	form   url.Values
	body   any
}

// setHeader sets a header unless it is set already. The name is in canonical form.
func (s *sampling) setHeader(name, value string) {
	if len(s.header[name]) == 0 {
		s.header[name] = []string{value}
	}
}

// put sets the value at each part of a place.
func (s *sampling) put(parts Place, value string) {
	for _, text := range parts {
		switch at, err := parsePlace(text); {
		case err != nil:
		case at.kind == placeHeader:
			s.setHeader(at.header, value)
		case at.kind == placeForm:
			s.form.Set(at.name, value)
		case at.kind == placeJSON:
			s.body = setPath(s.body, strings.Split(at.name, "."), value)
		}
	}
}

// maxSampleIndex is the largest array index of a sample.
const maxSampleIndex = 100

// setPath sets the value at a path of a JSON value, unless there is one already. It returns the
// root.
func setPath(root any, at path, value any) any {
	if len(at) == 0 {
		if root != nil {
			return root
		}
		return value
	}
	list, isList := root.([]any)
	if i, err := strconv.Atoi(at[0]); err == nil && (isList || root == nil) && 0 <= i &&
		i <= maxSampleIndex {
		for len(list) <= i {
			list = append(list, nil)
		}
		list[i] = setPath(list[i], at[1:], value)
		return list
	}
	object, isObject := root.(map[string]any)
	if !isObject {
		if root != nil {
			return root // a value blocks the path: the earlier place wins
		}
		object = map[string]any{}
	}
	object[at[0]] = setPath(object[at[0]], at[1:], value)
	return object
}
