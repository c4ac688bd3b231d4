package control

import (
	"crypto/sha256"
	"encoding/binary"
)

// canaryDomain keeps this hash apart from that of the partitions: a share of the keys must not be a
// share of the partitions.
const canaryDomain = "hookgate canary 1\n"

// canaryBucket is the place of an ordering key among a hundred: the first 32 bits of the SHA-256 of
// canaryDomain and key, as a part of all there are. It must never change, because keys would change
// sides under a canary that is under way.
func canaryBucket(orderingKey string) int {
	var room [len(canaryDomain) + 256]byte // enough for the longest key
	sum := sha256.Sum256(append(append(room[:0], canaryDomain...), orderingKey...))
	return int(uint64(binary.BigEndian.Uint32(sum[:])) * 100 >> 32)
}

// CanaryTakes reports whether a gate with a canary takes the events of an ordering key at a
// percentage. A key that it takes at one it takes at every higher one too.
func CanaryTakes(orderingKey string, percent int) bool {
	return canaryBucket(orderingKey) < percent
}
