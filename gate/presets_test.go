package gate

import (
	"maps"
	"slices"
	"testing"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/internal/secret"
)

// TestPresets: there is a function for each kind. A secret is any text, taken as it is,
// unless it is a reference.
func TestPresets(t *testing.T) {
	const text = "a,b ${HOME} 'c'"
	kinds := map[string]bool{}
	for _, s := range []SourceOptions{
		HMAC(SignatureOptions{}, text), APIKey("X-Key", text), Meta(text, text), None(), SNS("arn"),
		HubSpot(text), Square(text), Twilio(text),
		Bitbucket(text), Calendly(text), CloudEvents(text), Discord(text), Dropbox(text),
		GitHub(text), GitLab(text), Intercom(text), Linear(text), Mailgun(text),
		MicrosoftGraph(text), Okta(text), Paddle(text), PagerDuty(text), SendGrid(text),
		Sentry(text), Shopify(text), Slack(text), StandardWebhooks(text), Stripe(text), Svix(text),
		Telegram(text), Typeform(text), WooCommerce(text), Zendesk(text), Zoom(text), Envelope(text),
		Bearer(text), Basic(text),
	} {
		kinds[s.Kind] = true
		for _, setting := range slices.Concat(s.Secrets, s.VerifyTokens) {
			if got, err := secret.Resolve(setting); err != nil || got != text {
				t.Errorf("%s: the secret is %q, %v", s.Kind, got, err)
			}
		}
		if len(s.Secrets) == 0 && s.Kind != "none" && s.Kind != "sns" {
			t.Errorf("%s has no secret", s.Kind)
		}
	}
	if got := slices.Sorted(maps.Keys(kinds)); !slices.Equal(got, admit.Names()) {
		t.Errorf("there are functions for %q, and the kinds are %q", got, admit.Names())
	}
	t.Setenv("HOOKGATE_TEST_SECRET", "one, two")
	for _, setting := range []string{"env:HOOKGATE_TEST_SECRET", "exact:env:HOOKGATE_TEST_SECRET"} {
		if got, err := secret.Resolve(Stripe(setting).Secrets[0]); err != nil || got != "one, two" {
			t.Errorf("%s is %q, %v", setting, got, err)
		}
	}
}
