package admit

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
)

// TestSecretForms: a secret as its sender shows it is taken, and what people paste in its place is
// an error that says so and does not show it. The prefixes are those of the senders' documentation.
func TestSecretForms(t *testing.T) {
	const spki = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
	const hex32 = "0123456789abcdef0123456789abcdef"
	for _, test := range []struct {
		kind, secret string
		names        string // in the error; empty: it is taken
	}{
		{"standard_webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", ""},
		{"standard_webhooks", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", ""},
		{"standard_webhooks", "v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", ""}, // Supabase Auth
		{"standard_webhooks", "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q", ""},
		{"standard_webhooks", "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", ""},
		{"standard_webhooks", "v1a,whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", ""},
		{"standard_webhooks", "whsk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "whsk_"},
		{"standard_webhooks", "whsec_whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "not base64"},
		{"standard_webhooks", "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "not base64"},
		{"standard_webhooks", "v1,MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "not base64"},
		{"standard_webhooks", "v1a,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "not base64"},
		{"standard_webhooks", spki, "public key"},
		{"svix", "whsec_plJ3nmyCDGBKInavdOK15jsl", ""},
		{"svix", "whsec_", "empty"},
		{"github", "whsec_is what they chose", ""},
		{"github", spki, "public key"},
		{"github", "-----BEGIN PUBLIC KEY-----\n" + spki + "\n-----END PUBLIC KEY-----", "public key"},
		{"gitlab", "a secret, token", ""},
		{"gitlab", "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "public key"},
		{"stripe", "whsec_0123456789abcdefABCDEF", ""},
		{"stripe", "sk_live_0123456789abcdef", "whsec_"},
		{"stripe", "0123456789abcdefABCDEF", "whsec_"},
		{"shopify", "shpss_" + hex32, ""},
		{"shopify", hex32, ""},
		{"shopify", "shpat_" + hex32, "access token"},
		{"slack", hex32, ""},
		{"slack", "xoxb-0123456789-abcdef", "signing secret"},
		{"slack", "xapp-1-A0123-0123456789-abcdef", "signing secret"},
		{"twilio", hex32, ""},
		{"twilio", "AC" + hex32, "auth token"},
		{"twilio", "SK" + hex32, "auth token"},
		{"meta", hex32, ""},
		{"meta", "EAA" + strings.Repeat("aB0", 30), "access token"},
		{"linear", "lin_wh_0123456789", ""},
		{"linear", "lin_api_0123456789", "API key"},
		{"intercom", "0123abcd-0123-abcd", ""},
		{"intercom", "dG9rOmRlYWRiZWVm", "access token"},
		{"hubspot", "01234567-89ab-cdef-0123-456789abcdef", ""},
		{"hubspot", "pat-na1-01234567-89ab-cdef", "access token"},
		{"square", "LHUsd3vR8kFLpPvZ0aBcDe", ""},
		{"square", "sq0csp-0123456789abcdef", "signature key"},
		{"square", "sandbox-sq0idb-0123456789", "signature key"},
		{"paddle", "pdl_ntfset_01gkpjp8bkm3tm53kdgkx6sms7_6h3qd3uFSi9YCD3OLYAShQI90XTI5vEI", ""},
		{"paddle", "pdl_live_apikey_01gkpjp8bkm3tm53kdgkx6sms7", "API key"},
		{"sendgrid", "SG.0123456789.abcdef", "public key"},
		{"mailgun", "key-" + hex32, ""},
		{"mailgun", "pubkey-" + hex32, "signing key"},
		{"dropbox", "abcdef012345678", ""},
		{"dropbox", "sl.B0123456789", "app secret"},
		{"sentry", hex32 + hex32, ""},
		{"sentry", "sntrys_0123456789", "client secret"},
		{"okta", "any value of, the field", ""},
		{"okta", "Authorization: value-of-it", "name of the header"},
		{"telegram", "Secret_token-1", ""},
		{"telegram", "123456:ABC-DEF1234ghIkl", "secret_token"},
		{"discord", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", ""},
		{"discord", "D75A980182B10AB7D54BFED3C964073A0EE172F3DAA62325AF021A68F707511A", ""},
		{"bearer", "a-key-of-mine", ""},
		{"bearer", "Bearer a-key-of-mine", "remove it"},
		{"cloudevents", "bearer a-key-of-mine", "remove it"},
		{"basic", "user:pass, word", ""},
		{"basic", "Basic dXNlcjpwYXNzOg==", "USER:PASSWORD"},
		{"api_key", "a-key-of-mine", ""},
		{"api_key", "x-api-key: a-key-of-mine", "name of the header"},
	} {
		o := Options{Secrets: []string{test.secret}, PublicURL: "https://example.com/hook",
			Places: Places{MessageID: list("json:id")}}
		if kinds[test.kind].uses.fixedPlaces {
			o.Places = Places{}
		}
		_, err := New(test.kind, o)
		switch {
		case test.names == "" && err != nil:
			t.Errorf("%s refuses %q: %v", test.kind, test.secret, err)
		case test.names != "" && (err == nil || !strings.Contains(err.Error(), test.names)):
			t.Errorf("%s with %q: error %v does not name %s", test.kind, test.secret, err, test.names)
		case err != nil && strings.Contains(err.Error(), test.secret):
			t.Errorf("%s: error %q shows the secret", test.kind, err)
		}
	}
	if _, err := New("envelope", Options{BearerKeys: []string{"Bearer a-key-of-mine"}}); err == nil {
		t.Error("a bearer key with the word Bearer is taken")
	}
}

// TestSameKeyInEveryForm: all forms that are taken are the same key.
func TestSameKeyInEveryForm(t *testing.T) {
	want, _ := base64.StdEncoding.DecodeString("dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=")
	for _, form := range []string{"dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q",
		"dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=",
		"whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q",
		"v1,whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q="} {
		if got, err := decodeSecret(form, "base64", signingPrefix); err != nil ||
			string(got) != string(want) {
			t.Errorf("%s is %q, %v", form, got, err)
		}
	}
	// The public half of a key pair must never be taken for a secret, nor a secret for a public key.
	public := base64.StdEncoding.EncodeToString(make([]byte, ed25519.PublicKeySize))
	if _, err := decodeSecret(publicPrefix+public, "base64", signingPrefix); err == nil {
		t.Error("a public key is taken for a secret")
	}
	if _, err := ed25519Key(signingPrefix+public, "base64"); err == nil {
		t.Error("a secret is taken for a public key")
	}
}
