package dashboard

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/hookgate/hookgate/api"
)

func readSources(r *http.Request, v *Visitor) (a api.Sources, err error) {
	return a, v.Get(r.Context(), "/api/sources", &a)
}

// sending describes how to send a webhook to a source.
type sending struct {
	Source, URL string
	// Command is a line to paste, with variables for secrets.
	Command string
	// Note says which variables to set first.
	Note string
}

// keyHeaders has the headers in which senders of some kinds send their secret unencrypted.
var keyHeaders = map[string]string{
	"envelope":    "Authorization: Bearer $KEY",
	"bearer":      "Authorization: Bearer $KEY",
	"cloudevents": "Authorization: Bearer $KEY",
}

// sendingTo makes the command for a source: curl if its sender sends a secret or none, or hookgate
// sources send if it signs.
func (d *Dashboard) sendingTo(r *http.Request, s *api.Source) sending {
	t := sending{Source: s.Name, URL: s.URL}
	if t.URL == "" {
		t.URL = d.base(r) + s.Path
	}
	header, known := keyHeaders[s.Kind]
	if name, shown := strings.CutPrefix(s.Proof, "the secret in "); shown {
		header, known = name+": $KEY", true
	}
	switch {
	case s.Kind == "none":
		t.Command = curl(t.URL, "", s)
		t.Note = "This source authenticates nobody."
	case s.Kind == "basic":
		t.Command = strings.Replace(curl(t.URL, "", s), " \\\n", ` -u "$KEY"`+" \\\n", 1)
		t.Note = "Set KEY to USER:PASSWORD of the source first."
	case known:
		t.Command = curl(t.URL, header, s)
		t.Note = "Set KEY to the source's secret first, and put a body of its sender in place of the" +
			" example."
		if s.Kind == "envelope" {
			t.Note = "Set KEY first: to WEBHOOK_BEARER_KEY, or to the content of keys/bearer_key in the" +
				" gate's data directory."
		}
	case s.Kind == "sns":
		t.Command = `aws sns publish --topic-arn "$TOPIC_ARN" --message test`
		t.Note = "Only Amazon can sign for this source. Set TOPIC_ARN to a topic of the source that" +
			" has a subscription with this URL."
	case privateKinds[s.Kind]:
		t.Command = fmt.Sprintf("hookgate sources send --source %s --target %s \\\n  --key \"$KEY_FILE\"",
			s.Name,
			d.base(r))
		t.Note = "Its sender signs with a private key that only it has. Set KEY_FILE to a file with a" +
			" key of your own, whose public key is among the source's secrets; or use the sender's test."
	default:
		t.Command = fmt.Sprintf("hookgate sources send --source %s --target %s", s.Name, d.base(r))
		t.Note = "It sends an example, signed with the configured secret as the sender signs. To send" +
			" a body of the sender, add --file BODY."
	}
	return t
}

// privateKinds are those whose senders sign with a private key.
var privateKinds = map[string]bool{"discord": true, "sendgrid": true}

// curl returns a command that sends the sample of a source, and one header.
func curl(url, header string, s *api.Source) string {
	text := "curl -i " + quoted(url)
	if header != "" {
		text += " \\\n" + `  -H "` + header + `"`
	}
	headers, body := map[string]string{"Content-Type": "application/json"},
		`{"messageId":"evt-1","eventType":"order.paid","orderingKey":"customer-1","amount":42}`
	if s.Sample != nil && s.Kind != "envelope" {
		headers, body = s.Sample.Header, s.Sample.Body
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		text += " \\\n  -H " + quoted(name+": "+headers[name])
	}
	return text + " \\\n  -d " + quoted(body)
}

// quoted returns a text as one word of a shell.
func quoted(text string) string {
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
			strings.ContainsRune("-._:/@%+,", r))
	}) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
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
