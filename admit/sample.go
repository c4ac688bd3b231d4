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

// Sample is a request such as the sender of a source makes, but for its proof.
type Sample struct {
	Header http.Header
	Body   []byte
}

// sampleText is the event type and the ordering key of a sample.
const sampleText = "test"

// SampleOf returns a sample for a source of a kind. It has the message id, an event type and an
// ordering key at the first place where the source looks for each, and the id in its body in any
// case.
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

// sampling is a sample in the making.
type sampling struct {
	header http.Header
	form   url.Values
	body   any
}

// setHeader sets a header that is not there yet. The name is in canonical form.
func (s *sampling) setHeader(name, value string) {
	if len(s.header[name]) == 0 {
		s.header[name] = []string{value}
	}
}

// put gives each part of a place a value.
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

// maxSampleIndex bounds the arrays of a sample.
const maxSampleIndex = 100

// setPath puts a value at a path of a JSON value, where nothing stands yet, and returns the whole.
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
			return root // a value on the way: the place before counts
		}
		object = map[string]any{}
	}
	object[at[0]] = setPath(object[at[0]], at[1:], value)
	return object
}
