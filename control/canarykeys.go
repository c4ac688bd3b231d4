package control

import (
	"crypto/sha256"
	"encoding/binary"
)

// canaryDomain makes this hash independent of the hash of the partitions. Otherwise a percentage of
// the keys would be a percentage of the partitions.
const canaryDomain = "hookgate canary 1\n"

// canaryBucket returns the bucket of an ordering key, from 0 to 99. It scales the first 32 bits of
// the SHA-256 of canaryDomain and key. The function must never change: otherwise keys would change
// sides in a running canary.
func canaryBucket(orderingKey string) int {
	var room [len(canaryDomain) + 256]byte // enough for the longest key
	sum := sha256.Sum256(append(append(room[:0], canaryDomain...), orderingKey...))
	return int(uint64(binary.BigEndian.Uint32(sum[:])) * 100 >> 32)
}

// CanaryIncludes reports whether a canary at percent includes an ordering key, so that the gate
// handles its webhooks. A key that is included at one percentage is included at every higher one.
func CanaryIncludes(orderingKey string, percent int) bool {
	return canaryBucket(orderingKey) < percent
}
