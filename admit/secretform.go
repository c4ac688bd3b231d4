package admit

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// secretForm is the form in which a sender shows the secrets of its webhooks. Most secrets may be
// any text; what a form knows keeps a slip of the hand from becoming a key that never matches, or
// one that strangers know.
type secretForm struct {
	// begins is what every secret begins with.
	begins string
	// wrong are other things of the same sender that are easily taken for the secret.
	wrong []wrongSecret
}

// wrongSecret is what a pattern matches.
type wrongSecret struct {
	pattern *regexp.Regexp
	is      string
}

func wrong(pattern, is string) wrongSecret { return wrongSecret{regexp.MustCompile(pattern), is} }

var withScheme = wrong(`(?i)^bearer\s`,
	"begins with the word Bearer, which the gate adds itself: leave it out")

// secretForms has a form for each kind whose sender has one. The prefixes are those of the senders'
// documentation.
var secretForms = map[string]secretForm{
	"stripe": {begins: "whsec_"},
	"shopify": {wrong: []wrongSecret{wrong(`^shp(at|ca|pa|ua)_`,
		"is an access token; take the client secret of the app")}},
	"slack": {wrong: []wrongSecret{wrong(`^(xox[a-z]|xapp)-`,
		"is a token; take the signing secret of the app")}},
	"twilio": {wrong: []wrongSecret{wrong(`^(AC|SK)[0-9a-f]{32}$`,
		"is an account or key SID; take the auth token")}},
	"meta": {wrong: []wrongSecret{wrong(`^EAA[0-9A-Za-z]{40}`,
		"is an access token; take the app secret")}},
	"linear": {wrong: []wrongSecret{wrong(`^lin_(api|oauth)_`,
		"is an API key; take the signing secret of the webhook")}},
	"intercom": {wrong: []wrongSecret{wrong(`^dG9rO`,
		"is an access token; take the client secret of the app")}},
	"hubspot": {wrong: []wrongSecret{wrong(`^pat-[a-z0-9]+-`,
		"is an access token; take the client secret of the app")}},
	"square": {wrong: []wrongSecret{wrong(`^(sandbox-)?sq0[a-z]{3}-|^EAAA.{40}`,
		"is an application's id, secret or token; take the signature key of the subscription")}},
	"paddle": {wrong: []wrongSecret{wrong(`^pdl_(live|sdbx)_apikey_`,
		"is an API key; take the secret key of the notification destination")}},
	"mailgun": {wrong: []wrongSecret{wrong(`^pubkey-`,
		"is a public key; take the HTTP webhook signing key")}},
	"dropbox": {wrong: []wrongSecret{wrong(`^sl\.`, "is an access token; take the app secret")}},
	"sentry": {wrong: []wrongSecret{wrong(`^sntry[su]_`,
		"is an auth token; take the client secret of the integration")}},
	"okta": {wrong: []wrongSecret{wrong(`(?i)^authorization\s*:`,
		"begins with the name of the header: leave that out")}},
	"telegram": {wrong: []wrongSecret{wrong(`[^0-9A-Za-z_-]`,
		"has a character that Telegram allows in no secret_token (0-9, A-Z, a-z, _ and - are); a bot's token is something else")}},
	"bearer":      {wrong: []wrongSecret{withScheme}},
	"cloudevents": {wrong: []wrongSecret{withScheme}},
	"basic": {wrong: []wrongSecret{wrong(`(?i)^basic\s`,
		"begins with the word Basic: write USER:PASSWORD, not encoded")}},
}

// check finds secrets that do not have the form.
func (f secretForm) check(what string, secrets []string) error {
	var errs error
	for i, secret := range secrets {
		if f.begins != "" && secret != "" && !strings.HasPrefix(secret, f.begins) {
			errs = errors.Join(errs, fmt.Errorf("%s %d does not begin with %s, as every one of this sender does", what, i+1, f.begins))
		}
		for _, w := range f.wrong {
			if w.pattern.MatchString(secret) {
				errs = errors.Join(errs, fmt.Errorf("%s %d %s", what, i+1, w.is))
			}
		}
	}
	return errs
}

// checkForms finds secrets and keys that cannot be those of the kind.
func (k *kind) checkForms(o Options) error {
	f := secretForms[k.Name]
	if k.Name == "api_key" {
		header := o.Header
		if header == "" {
			header = defaultKeyHeader
		}
		f.wrong = []wrongSecret{wrong(`(?i)^`+regexp.QuoteMeta(http.CanonicalHeaderKey(header))+`\s*:`,
			"begins with the name of the header: leave that out")}
	}
	return errors.Join(f.check("secret", o.Secrets),
		secretForm{wrong: []wrongSecret{withScheme}}.check("bearer key", o.BearerKeys))
}

// Prefixes of the keys of Standard Webhooks, and of the lists that some senders show them in.
const (
	signingPrefix = "whsec_"
	publicPrefix  = "whpk_"
	privatePrefix = "whsk_"
)

// bareKey removes what may stand before a key in base64: "whsec_" or "v1,whsec_" for a secret,
// "whpk_" or "v1a,whpk_" for a public key. The prefix of another sort of key is an error.
func bareKey(key, prefix string) (string, error) {
	version := "v1,"
	if prefix == publicPrefix {
		version = "v1a,"
	}
	for _, before := range []string{prefix, version + prefix} {
		if bare, found := strings.CutPrefix(key, before); found {
			return bare, nil
		}
	}
	for _, other := range []string{signingPrefix, publicPrefix, privatePrefix} {
		if strings.HasPrefix(key, other) {
			return "", fmt.Errorf("begins with %s: here a key that begins with %s is wanted", other, prefix)
		}
	}
	return key, nil
}

// isPublic reports whether a text is a public key, which is no secret: anybody who has it could
// sign.
func isPublic(text string) bool {
	_, err := parsePublicKey(text)
	return err == nil || strings.HasPrefix(text, "-----BEGIN PUBLIC KEY-----") ||
		strings.HasPrefix(text, publicPrefix)
}
