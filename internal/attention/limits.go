package attention

import (
	"context"
	"fmt"
	"time"
)

const (
	// certificateWarning is how long before its end a certificate is a problem. Let's Encrypt renews
	// one 30 days before.
	certificateWarning = 14 * 24 * time.Hour
	// diskShare and diskBytes bound the free space of the data directory's file system. Less than
	// both is a problem: a tenth of a large disk lasts long.
	diskShare = 0.1
	diskBytes = 5 << 30
)

// Certificate returns a Source with one item while the TLS certificate has less than 14 days left,
// or cannot be read. expires returns when it ends.
func Certificate(expires func() (time.Time, error)) Source {
	return func(context.Context) []Item {
		at, err := expires()
		if err != nil {
			return []Item{{Name: "certificate", Count: 1,
				Text: "The TLS certificate cannot be read: correct tls.cert_file and tls.key_file"}}
		}
		left := time.Until(at)
		switch {
		case left > certificateWarning:
			return nil
		case left <= 0:
			return []Item{{Name: "certificate", Count: 1, Since: &at,
				Text: "The TLS certificate has expired: senders reject it; put a new one in tls.cert_file"}}
		}
		return []Item{{Name: "certificate", Count: 1,
			Text: fmt.Sprintf("The TLS certificate ends on %s: put a new one in tls.cert_file",
				at.UTC().Format("2006-01-02"))}}
	}
}

// Disk returns a Source with one item while less than a tenth and less than 5 GiB of the data
// directory's file system are free. space returns the free space and the size, in bytes.
func Disk(space func() (free, size int64, err error)) Source {
	return func(context.Context) []Item {
		free, size, err := space()
		if err != nil || size == 0 || free >= diskBytes || float64(free) >= diskShare*float64(size) {
			return nil
		}
		return []Item{{Name: "disk", Count: 1,
			Text: fmt.Sprintf("The disk of the data directory is %.0f%% full: free space, or shorten"+
				" retention; on a full disk the gate rejects webhooks", 100-100*float64(free)/float64(size))}}
	}
}
