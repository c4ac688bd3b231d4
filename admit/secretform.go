package admit

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// secretForm is the form of a sender's webhook secrets. Most secrets may be any text. A form
// detects mistakes: a key that never matches, or one that strangers know.
type secretForm struct {
	// begins is the prefix of every secret.
	begins string
	// wrong are other keys of the same sender that people confuse with the secret.
	wrong []wrongSecret
}

// wrongSecret describes what a pattern matches.
type wrongSecret struct {
	pattern *regexp.Regexp
	is      string
}

func wrong(pattern, is string) wrongSecret { return wrongSecret{regexp.MustCompile(pattern), is} }

var withScheme = wrong(`(?i)^bearer\s`,
	"begins with the word Bearer, which the gate adds itself: remove it")

// secretForms has the form for each kind whose sender documents one.
var secretForms = map[string]secretForm{
	"stripe": {begins: "whsec_"},
	"shopify": {wrong: []wrongSecret{wrong(`^shp(at|ca|pa|ua)_`,
		"is an access token; use the client secret of the app")}},
	"slack": {wrong: []wrongSecret{wrong(`^(xox[a-z]|xapp)-`,
		"is a token; use the signing secret of the app")}},
	"twilio": {wrong: []wrongSecret{wrong(`^(AC|SK)[0-9a-f]{32}$`,
		"is an account or key SID; use the auth token")}},
	"meta": {wrong: []wrongSecret{wrong(`^EAA[0-9A-Za-z]{40}`,
		"is an access token; use the app secret")}},
	"linear": {wrong: []wrongSecret{wrong(`^lin_(api|oauth)_`,
		"is an API key; use the signing secret of the webhook")}},
	"intercom": {wrong: []wrongSecret{wrong(`^dG9rO`,
		"is an access token; use the client secret of the app")}},
	"hubspot": {wrong: []wrongSecret{wrong(`^pat-[a-z0-9]+-`,
		"is an access token; use the client secret of the app")}},
	"square": {wrong: []wrongSecret{wrong(`^(sandbox-)?sq0[a-z]{3}-|^EAAA.{40}`,
		"is an application's id, secret or token; use the signature key of the subscription")}},
	"paddle": {wrong: []wrongSecret{wrong(`^pdl_(live|sdbx)_apikey_`,
		"is an API key; use the secret key of the notification destination")}},
	"mailgun": {wrong: []wrongSecret{wrong(`^pubkey-`,
		"is a public key; use the HTTP webhook signing key")}},
	"dropbox": {wrong: []wrongSecret{wrong(`^sl\.`, "is an access token; use the app secret")}},
	"sentry": {wrong: []wrongSecret{wrong(`^sntry[su]_`,
		"is an auth token; use the client secret of the integration")}},
	"okta": {wrong: []wrongSecret{wrong(`(?i)^authorization\s*:`,
		"begins with the name of the header: remove it")}},
	"telegram": {wrong: []wrongSecret{wrong(`[^0-9A-Za-z_-]`,
		"has a character that a secret_token of Telegram cannot have (only 0-9, A-Z, a-z, _ and -); "+
			"do not use the token of the bot")}},
	"bearer":      {wrong: []wrongSecret{withScheme}},
	"cloudevents": {wrong: []wrongSecret{withScheme}},
	"basic": {wrong: []wrongSecret{wrong(`(?i)^basic\s`,
		"begins with the word Basic: write USER:PASSWORD, not encoded")}},
}

// check returns an error that names every secret without the form.
func (f secretForm) check(what string, secrets []string) error {
	var errs error
	for i, secret := range secrets {
		if f.begins != "" && secret != "" && !strings.HasPrefix(secret, f.begins) {
			errs = errors.Join(errs, fmt.Errorf("%s %d does not begin with %s; every secret of this sender "+
				"does", what, i+1, f.begins))
		}
		for _, w := range f.wrong {
			if w.pattern.MatchString(secret) {
				errs = errors.Join(errs, fmt.Errorf("%s %d %s", what, i+1, w.is))
			}
		}
	}
	return errs
}

// checkForms returns an error that names every secret and key that cannot belong to the kind.
func (k *kind) checkForms(o Options) error {
	f := secretForms[k.Name]
	if k.Name == "api_key" {
		header := o.Header
		if header == "" {
			header = DefaultKeyHeader
		}
		f.wrong = []wrongSecret{wrong(`(?i)^`+regexp.QuoteMeta(http.CanonicalHeaderKey(header))+`\s*:`,
			"begins with the name of the header: remove it")}
	}
	return errors.Join(f.check("secret", o.Secrets),
		secretForm{wrong: []wrongSecret{withScheme}}.check("bearer key", o.BearerKeys))
}

// Prefixes of the keys of Standard Webhooks.
const (
	signingPrefix = "whsec_"
	publicPrefix  = "whpk_"
	privatePrefix = "whsk_"
)

// bareKey removes the prefix of a key in base64: "whsec_" or "v1,whsec_" for a secret, "whpk_" or
// "v1a,whpk_" for a public key. The prefix of another type of key is an error.
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
			return "", fmt.Errorf("begins with %s: use a key that begins with %s", other, prefix)
		}
	}
	return key, nil
}

// isPublic reports whether a text is a public key. Such a key is no secret: anybody could sign with
// it.
func isPublic(text string) bool {
	_, err := parsePublicKey(text)
	return err == nil || strings.HasPrefix(text, "-----BEGIN PUBLIC KEY-----") ||
		strings.HasPrefix(text, publicPrefix)
}
