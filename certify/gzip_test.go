package certify

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Goal: what appendGzip makes is gzip, for any bytes, and shorter if they repeat.
func TestAppendGzip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// parts that repeat, near and far, one byte and more than a window
		parts := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 400), 1, 4).Draw(t, "parts")
		var body []byte
		for range rapid.IntRange(0, 12).Draw(t, "number") {
			part := rapid.SampledFrom(parts).Draw(t, "part")
			body = append(body, bytes.Repeat(part, rapid.SampledFrom([]int{1, 1, 2, 200}).Draw(t,
				"times"))...)
		}
		packed := appendGzip([]byte("before"), body)
		r, err := gzip.NewReader(bytes.NewReader(packed[len("before"):]))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%d bytes come back as %d: %v", len(body), len(got), err)
		}
	})
	if n := len(appendGzip(nil, bytes.Repeat([]byte("0123456789"), 1000))); n > 200 {
		t.Errorf("10,000 bytes that repeat take %d", n)
	}
}

// Goal: the bytes never change, because bundles of other builds are judged by them.
func TestAppendGzipStays(t *testing.T) {
	text := strings.Repeat(`{"messageId":"cert-1","key":"cert-key-1","text":"Zoë"}`, 20)
	sum := sha256.Sum256(appendGzip(nil, []byte(text)))
	const want = "8ef097ffba41f1850deaba68748674132b5e1843c8e2498ec155534eecff14d2"
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("the digest is %s, it was %s", got, want)
	}
}
