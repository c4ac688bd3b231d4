//go:build bench_without

package sqlitedb

import (
	"os"
	"slices"
	"strings"
)

// synchronous is FULL unless BENCH_WITHOUT names fsync. Only bench/ builds with the tag of this
// file, to see what durability costs.
var synchronous = func() string {
	if slices.Contains(strings.Split(os.Getenv("BENCH_WITHOUT"), ","), "fsync") {
		return "OFF"
	}
	return "FULL"
}()
