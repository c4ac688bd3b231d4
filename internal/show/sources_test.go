package show

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/hookgate/hookgate/api"
)

// TestSourcesTables: the tables have one row per source, reason and secret, with any characters
// in a cell.
func TestSourcesTables(t *testing.T) {
	var sources []api.Source
	if err := json.Unmarshal([]byte(`[
		{"name":"own","kind":"hmac","url":"https://a.example/x","proof":"HMAC-SHA256 of {method}\n{url}\n{body}\u009b2J in X-Sig","accepted":1,"refused":3,
		 "refusals":[{"status":400,"count":2,"reason":"id is missing"},{"status":401,"count":1,"reason":"a\tb\u202e"}],
		 "credentials":[{"setting":"secrets","position":1,"lastAt":"2026-01-02T03:04:05.123456Z"},{"setting":"secrets","position":2,"lastAt":null}]},
		{"name":"one","kind":"github","path":"/webhooks/one","proof":"p","credentials":[{"setting":"secrets","position":1,"lastAt":null}]}]`), &sources); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Sources(&out, api.Sources{Since: api.At(time.Unix(0, 0)),
		Sources: sources}); err != nil {
		t.Fatal(err)
	}
	const want = `NAME  KIND    URL                  ACCEPTED  DUPLICATES  REJECTED  LAST  AUTHENTICATED BY
own   hmac    https://a.example/x  1         0           3         -     HMAC-SHA256 of {method}\n{url}\n{body}\u009b2J in X-Sig
one   github  /webhooks/one        0         0           0         -     p

REJECTED  STATUS  REQUESTS  REASON
own       400     2         id is missing
own       401     1         a\tb\u202e

SECRETS  SETTING  POSITION  LAST USED
own      secrets  1         2026-01-02T03:04:05Z
own      secrets  2         not since the start

Counted since 1970-01-01T00:00:00Z.
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
