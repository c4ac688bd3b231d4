package adminapi

import (
	"net/http"
	"time"

	"github.com/hookgate/hookgate/admit"
)

// sourceAnswer is a source as /api/sources shows it.
type sourceAnswer struct {
	Name       string  `json:"name"`
	Kind       string  `json:"kind"`
	Proof      string  `json:"proof"`
	Path       string  `json:"path"`
	URL        string  `json:"url,omitempty"`
	Accepted   int64   `json:"accepted"`
	Duplicates int64   `json:"duplicates"`
	Refused    int64   `json:"refused"`
	Handshakes int64   `json:"handshakes"`
	LastAt     *string `json:"lastAt"`
	// Refusals are those of Refused by status and reason, and Unauthenticated those with 401.
	Refusals        []refusalAnswer `json:"refusals"`
	Unauthenticated []failureAnswer `json:"unauthenticated"`
	// Credentials are the secrets and keys, without their values.
	Credentials []credentialAnswer `json:"credentials"`
	// Sample is there if one is known.
	Sample *sampleAnswer `json:"sample,omitempty"`
}

// sampleAnswer is a request as the sender of a source makes it, but for the proof.
type sampleAnswer struct {
	Header map[string]string `json:"header"`
	Body   string            `json:"body"`
}

// refusalAnswer is how often a source's requests were refused for a reason.
type refusalAnswer struct {
	Status int    `json:"status"`
	Reason string `json:"reason"`
	Count  int64  `json:"count"`
}

// failureAnswer is the same for requests that were not authenticated.
type failureAnswer struct {
	Reason string `json:"reason"`
	Count  int64  `json:"count"`
}

func sampleOf(s admit.Sample) *sampleAnswer {
	if len(s.Body) == 0 {
		return nil
	}
	a := &sampleAnswer{map[string]string{}, string(s.Body)}
	for name := range s.Header {
		a.Header[name] = s.Header.Get(name)
	}
	return a
}

// credentialAnswer is one of a source's credentials: the setting that it stands in, its position
// there from 1, and when a request proved itself with it last.
type credentialAnswer struct {
	Setting  string  `json:"setting"`
	Position int     `json:"position"`
	LastAt   *string `json:"lastAt"`
}

// sourcesAnswer is what /api/sources answers.
type sourcesAnswer struct {
	Since   string         `json:"since"`
	Sources []sourceAnswer `json:"sources"`
}

// timeOrNull returns a time as answers write it; nil for the zero time.
func timeOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := t.UTC().Format(timeFormat)
	return &text
}

// showSources answers the configured sources and their traffic since the start of this process.
func (s *API) showSources(c *call) {
	answer := sourcesAnswer{Since: s.started.UTC().Format(timeFormat), Sources: []sourceAnswer{}}
	for _, source := range s.webhooks.Status() {
		one := sourceAnswer{
			Name: source.Name, Kind: source.Kind, Proof: source.Proof, Path: source.Path, URL: source.URL,
			Accepted: source.Accepted, Duplicates: source.Duplicates, Refused: source.Refused,
			Handshakes: source.Handshakes, LastAt: timeOrNull(source.LastAt),
			Sample: sampleOf(source.Sample), Refusals: []refusalAnswer{},
			Unauthenticated: []failureAnswer{}, Credentials: []credentialAnswer{},
		}
		for _, r := range source.Refusals {
			one.Refusals = append(one.Refusals, refusalAnswer(r))
			if r.Status == http.StatusUnauthorized {
				one.Unauthenticated = append(one.Unauthenticated, failureAnswer{r.Reason, r.Count})
			}
		}
		for _, k := range source.Credentials {
			one.Credentials = append(one.Credentials, credentialAnswer{k.Setting, k.Position,
				timeOrNull(k.LastAt)})
		}
		answer.Sources = append(answer.Sources, one)
	}
	c.json(answer)
}
