package dashboard

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// sourcesAnswer is what GET /api/sources answers.
type sourcesAnswer struct {
	Since   time.Time
	Sources []sourceAnswer
}

type sourceAnswer struct {
	Name, Kind, Proof, Path, URL              string
	Accepted, Duplicates, Refused, Handshakes int64
	LastAt                                    *time.Time
	Refusals                                  []struct {
		Status int
		Reason string
		Count  int64
	}
	Credentials []struct {
		Setting  string
		Position int
		LastAt   *time.Time
	}
}

func readSources(r *http.Request, v *Visitor) (a sourcesAnswer, err error) {
	return a, v.Get(r.Context(), "/api/sources", &a)
}

// sending is how to send a webhook to a source.
type sending struct {
	Source, URL string
	// Command is a line to paste; secrets are variables in it.
	Command string
	// Note says what to set first.
	Note string
}

// keyHeaders are the headers in which senders of some kinds show their secret as it is.
var keyHeaders = map[string]string{
	"envelope":    "Authorization: Bearer $KEY",
	"bearer":      "Authorization: Bearer $KEY",
	"cloudevents": "Authorization: Bearer $KEY",
	"gitlab":      "X-Gitlab-Token: $KEY",
}

// sendingTo makes the command for a source: curl where its sender shows a secret or none, and where it signs the command of this program
// that signs as it does.
func (d *Dashboard) sendingTo(r *http.Request, s *sourceAnswer) sending {
	t := sending{Source: s.Name, URL: s.URL}
	if t.URL == "" {
		t.URL = d.base(r) + s.Path
	}
	event := `{"messageId":"evt-1","eventType":"order.paid","orderingKey":"customer-1","amount":42}`
	header, known := keyHeaders[s.Kind]
	if name, shown := strings.CutPrefix(s.Proof, "the secret in "); shown {
		header, known = name+": $KEY", true
	}
	switch {
	case s.Kind == "none":
		t.Command = curl(t.URL, "", event)
		t.Note = "This source authenticates nobody."
	case s.Kind == "basic":
		t.Command = strings.Replace(curl(t.URL, "", event), " \\\n", ` -u "$KEY"`+" \\\n", 1)
		t.Note = "Set KEY to USER:PASSWORD of the source first."
	case known:
		t.Command = curl(t.URL, header, event)
		t.Note = "Set KEY to the source's secret first, and put a body of its sender in place of the example."
		if s.Kind == "envelope" {
			t.Note = "Set KEY first: to WEBHOOK_BEARER_KEY, or to what the file keys/bearer_key in the gate's data directory holds."
		}
	default:
		t.Command = fmt.Sprintf("echo '%s' |\n  hookgate send --source %s --target %s --file -", event, s.Name, strings.TrimSuffix(t.URL, s.Path))
		t.Note = "Its sender signs each body; hookgate send does so with the secret of the configuration. Put a body of the sender in place of the example."
	}
	return t
}

func curl(url, header, body string) string {
	text := "curl -i " + url + " \\\n"
	if header != "" {
		text += `  -H "` + header + `" \` + "\n"
	}
	return text + "  -H 'Content-Type: application/json' \\\n  -d '" + body + "'"
}

// base is the URL that senders reach, without a path.
func (d *Dashboard) base(r *http.Request) string {
	switch {
	case d.config.Base != "":
		return d.config.Base
	case r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https":
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
