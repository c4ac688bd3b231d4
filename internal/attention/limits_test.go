package attention

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestCertificate: a certificate is an item from two weeks before its end, and if it cannot be
// read.
func TestCertificate(t *testing.T) {
	for _, test := range []struct {
		left time.Duration
		err  error
		want string
	}{
		{15 * 24 * time.Hour, nil, ""},
		{13 * 24 * time.Hour, nil, "The TLS certificate ends on"},
		{-time.Hour, nil, "The TLS certificate has expired"},
		{0, errors.New("no file"), "The TLS certificate cannot be read"},
	} {
		items := Certificate(func() (time.Time, error) { return time.Now().Add(test.left), test.err })(
			t.Context())
		if (len(items) == 0) != (test.want == "") || len(items) > 0 &&
			!strings.HasPrefix(items[0].Text, test.want) {
			t.Errorf("%v left: items %+v", test.left, items)
		}
	}
}

// TestDisk: a disk is an item if little is free, as a share and in bytes.
func TestDisk(t *testing.T) {
	const gib = 1 << 30
	for _, test := range []struct {
		free, size int64
		err        error
		want       bool
	}{
		{4 * gib, 100 * gib, nil, true}, {6 * gib, 100 * gib, nil, false},
		{4 * gib, 20 * gib, nil, false}, {0, 0, nil, false},
		{0, 10 * gib, errors.New("no such folder"), false},
	} {
		items := Disk(func() (int64, int64, error) { return test.free, test.size, test.err })(t.Context())
		if len(items) > 0 != test.want {
			t.Errorf("%d free of %d: items %+v", test.free, test.size, items)
		}
	}
}
