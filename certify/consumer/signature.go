package consumer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

// The results of checking a signature.
const (
	Valid   = "valid"
	Wrong   = "wrong"
	Missing = "missing"
)

// senderHeader is the header with the sender's own signature.
const senderHeader = "X-Webhook-Signature"

// secretKey returns the key that a secret of Standard Webhooks stands for: base64 behind whsec_, or
// a text behind raw:.
func secretKey(secret string) ([]byte, error) {
	if text, ok := strings.CutPrefix(secret, "raw:"); ok {
		return []byte(text), nil
	}
	text := strings.TrimPrefix(strings.TrimPrefix(secret, "v1,"), "whsec_")
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, errors.New("is not base64, nor raw: and a text") // does not show the secret
	}
	return key, nil
}

func checkSecret(secret string) error {
	_, err := secretKey(secret)
	return err
}

// checkSignature checks a signature of Standard Webhooks: one of a list must be that of
// id.timestamp.body.
func checkSignature(secret, id, timestamp string, body []byte, signatures string) string {
	key, err := secretKey(secret)
	switch {
	case err != nil:
		return Wrong
	case signatures == "":
		return Missing
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for signature := range strings.FieldsSeq(signatures) {
		if hmac.Equal([]byte(signature), []byte(want)) {
			return Valid
		}
	}
	return Wrong
}

// checkSender checks the sender's own signature, which the gate passes on.
func checkSender(secret string, body []byte, signature string) string {
	if signature == "" {
		return Missing
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	if hmac.Equal([]byte(signature), []byte("sha256="+hex.EncodeToString(mac.Sum(nil)))) {
		return Valid
	}
	return Wrong
}
