package e2e

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"

	"github.com/hookgate/hookgate/certify"
)

// deliverTrial is a short phase deliver whose limits on times only end what hangs. The rate is so
// low that a slow machine still gets webhooks while the consumer fails.
const deliverTrial = `settle_s: 0
phases:
  deliver:
    events: %d
    rate: 30
    keys: 15
    consumer: {errors_percent: 8, resets_percent: 4, slow_s: 0.1, restarts: %d, outage_s: 1,
      unready_s: %d, retry_after_s: 2, lease_s: 5, prompt_ms: 120000, recover_s: 600,
      pull_recover_s: 600, ready_s: 600, probes_per_s: 1000, healed_s: 120, storm_factor: 1000,
      others_ms: 120000, clock_s: 600, lag_ms: 120000}
`

// certifyDelivery certifies the delivery of a gate by push and by pull: both pass, and the evidence
// holds. The gate has the subscription of deliverySettings.
func certifyDelivery(t *testing.T, g *gate, events, restarts, unready int) {
	t.Helper()
	g.env = append(g.env, "SUBSCRIPTION_SECRET="+deliverySecret)
	profile := writeConfig(t, fmt.Sprintf(deliverTrial, events, restarts, unready))
	for _, args := range [][]string{{"--subscription", "certify"}, nil} {
		dir := filepath.Join(t.TempDir(), "evidence")
		v, code := certifyBinary(t, g, dir, append([]string{"--phase", "deliver", "--profile", profile},
			args...)...)
		if allSent(v) {
			t.Log("all events were sent before the outage: nothing shows how the gate recovers")
		} else {
			mustPass(t, v, code)
		}
		if restarts == 0 {
			continue // the evidence of the other gate is of the same kinds
		}
		if code, out, errs := runBinary(t, nil, "evidence", "verify", dir); code != 0 {
			t.Errorf("verify: %d %s%s", code, out, errs)
		}
	}
}

// allSent reports whether a verdict is INVALID only because the outage held up no event. A short
// phase with another stage before it has sent all by then.
func allSent(v certify.Verdict) bool {
	for _, c := range v.Criteria {
		if (c.ID == "deliver/recovered" && c.Status == certify.Invalid) != (c.Status != certify.Pass) {
			return false
		}
	}
	return v.Status == certify.Invalid
}

const deliverySecret = "raw:the secret of the subscription"

// deliverySettings returns the environment of a gate with a subscription for certify.
func deliverySettings(t *testing.T) []string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return []string{"SUBSCRIPTION_SECRET=" + deliverySecret, "HOOKGATE_CONFIG=" + writeConfig(t,
		fmt.Sprintf(`subscriptions:
  certify:
    sources: [hookgate-certify]
    push: {url: "http://%s/", signing: [env:SUBSCRIPTION_SECRET], timeout: 10s}
    retry: {first: 100ms, max: 1s, final: [422]}
`, l.Addr()))}
}

// TestCertifyDelivery certifies the delivery of an embedded gate.
func TestCertifyDelivery(t *testing.T) {
	t.Parallel()
	certifyDelivery(t, startGate(t, startOptions{env: deliverySettings(t)}), 150, 1, 1)
}

// TestCertifyDeliveryShared certifies the delivery of a gate on Redis and PostgreSQL.
func TestCertifyDeliveryShared(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	env := append(deliverySettings(t), "WEBHOOK_HMAC_SECRET=the-secret-of-both",
		"ADMIN_TOKEN=the-token-of-both", "HOOKGATE_QUEUE_TIMEOUT=30s")
	certifyDelivery(t, s.start(roleAll, env...), 150, 0, 0)
}
