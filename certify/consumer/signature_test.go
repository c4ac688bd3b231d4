package consumer

import "testing"

// TestSignature checks signatures against the example of Standard Webhooks.
func TestSignature(t *testing.T) {
	const secret, id, timestamp = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330"
	const good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	body := []byte(`{"test": 2432232314}`)
	for _, test := range []struct{ secret, id, timestamp, signatures, want string }{
		{secret, id, timestamp, good, Valid},
		{secret, id, timestamp, "v1,AAAA " + good, Valid},
		{secret, id, "1614265331", good, Wrong},
		{secret, id + "x", timestamp, good, Wrong},
		{"raw:another secret", id, timestamp, good, Wrong},
		{"whsec_%", id, timestamp, good, Wrong},
		{secret, id, timestamp, "", Missing},
	} {
		if got := checkSignature(test.secret, test.id, test.timestamp, body,
			test.signatures); got != test.want {
			t.Errorf("%v is %s, want %s", test, got, test.want)
		}
	}
}
