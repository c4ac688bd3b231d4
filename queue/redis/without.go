//go:build bench_without

package redis

import (
	"os"
	"slices"
	"strings"
)

// If BENCH_WITHOUT names claims, appendScript appends and recognises no repetition. Only bench/
// builds with the tag of this file, to see what recognising them costs.
func init() {
	if slices.Contains(strings.Split(os.Getenv("BENCH_WITHOUT"), ","), "claims") {
		appendScript = newScript("", `
local answers = {}
for i = 1, #KEYS / 2 do answers[i] = redis.pcall('XADD', KEYS[2 * i - 1], '*', 'r', ARGV[2 * i]) end
return answers
`)
	}
}
