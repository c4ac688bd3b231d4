package admit

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Goal: no header of a signature, however it is written, breaks a preset, and none is taken but one
// that is made of the sender's own pieces. Method: any value, query, type and body for each preset;
// each accepted request must have the vector's body and query, and its signature decoded must be
// the vector's.
func FuzzSignatures(f *testing.F) {
	all := vectors()
	schemes := make([]Scheme, len(all))
	for i, v := range all {
		schemes[i] = v.scheme(f)
		f.Add(i, header(v.headers...).Get(v.proof), header(v.headers...).Get(v.timestamp), v.query,
			header(v.headers...).Get("Content-Type"), []byte(v.body))
	}
	f.Add(0, "v1, v1,= v1a,", "1614265330", "", jsonType, []byte("{}"))
	f.Add(7, "t=1,t=2,v1=,v1=00", "", "", "", []byte("{}"))
	f.Fuzz(func(t *testing.T, i int, value, timestamp, query, contentType string, body []byte) {
		if i < 0 || i >= len(all) {
			return
		}
		v := all[i]
		r := v.request()
		if v.proof != "" {
			r.Header.Set(v.proof, value)
		}
		if v.timestamp != "" {
			r.Header.Set(v.timestamp, timestamp)
		}
		r.Header.Set("Content-Type", contentType)
		r.Query, r.Body = query, body
		if err := schemes[i].CheckHeader(r); err != nil && !errors.Is(err, ErrUnauthenticated) {
			t.Fatalf("CheckHeader: %v", err)
		}
		err := schemes[i].Authenticate(r)
		switch {
		case err != nil && !errors.Is(err, ErrUnauthenticated):
			t.Fatalf("Authenticate: %v", err)
		case err == nil && !v.unsigned && string(body) != v.body && v.kind() != "twilio":
			t.Fatalf("%s: another body is taken with %q", v.name, value)
		}
		got, err := schemes[i].Identify(r)
		var m *MalformedError
		switch {
		case err == nil:
			checkLimits(t, got)
		case !errors.As(err, &m) && !errors.Is(err, ErrUnsupportedMediaType):
			t.Fatalf("Identify: %v", err)
		}
		if h, ok := schemes[i].(Handshaker); ok {
			for _, method := range append(h.Methods(), http.MethodPost) {
				r.Method = method
				if a, err := h.Greet(r); a != nil && err != nil {
					t.Fatalf("Greet: %+v and %v", a, err)
				}
			}
			if a, err := h.Reply(r); a != nil && err != nil {
				t.Fatalf("Reply: %+v and %v", a, err)
			}
		}
	})
}

// Goal: no place and no body breaks the limits of what identifies an event. Method: any list of
// places, header, type and body.
func FuzzPlaces(f *testing.F) {
	f.Add("json:a.0.b\nform:x\nheader:X-A\nsha256:body\nconst:c", "v", jsonType,
		[]byte(`{"a":[{"b":"c"}]}`))
	f.Add("form:x y\njson:a", "", formType, []byte("x+y=%41&x%20y=2"))
	f.Add("a.b\njson:a", "\x00", "", []byte(`{"a":{"b":1,"b":2}}`))
	f.Add("json:a & json:b.c\nsha256:body-without:b.c+d", "", "",
		[]byte(`{"a":",\\","b":[{"c":"\\ud800"}],"d":[1]}`))
	f.Add("json:0.a\njson:1", "x", "text/plain", []byte(`[{"a":{}},-1e9]`))
	f.Fuzz(func(t *testing.T, places, value, contentType string, body []byte) {
		var lists []Place
		for line := range strings.SplitSeq(places, "\n") {
			lists = append(lists, strings.Split(line, " & "))
		}
		s, err := New("none", Options{Places: Places{MessageID: lists, OrderingKey: lists,
			Sequence: lists[:1]}})
		if err != nil {
			return
		}
		r := &Request{ID: testRequestID, Time: time.Unix(1, 0), Header: http.Header{"X-A": {value},
			"Content-Type": {contentType}}, Body: body}
		got, err := s.Identify(r)
		var m *MalformedError
		switch {
		case err == nil:
			checkLimits(t, got)
		case !errors.As(err, &m) || got != (Message{}):
			t.Fatalf("got %+v and error %v", got, err)
		}
	})
}
