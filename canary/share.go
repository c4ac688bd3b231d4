package canary

import (
	"crypto/sha256"
	"encoding/binary"
)

// domain keeps this hash apart from that of the partitions: a share of the keys must not be a share of the partitions.
const domain = "hookgate canary 1\n"

// bucket is the place of an ordering key among a hundred: the first 32 bits of the SHA-256 of domain and key, as a part of all there
// are. It must never change, because keys would change sides under a canary that is under way.
func bucket(orderingKey string) int {
	var room [len(domain) + 256]byte // enough for the longest key
	sum := sha256.Sum256(append(append(room[:0], domain...), orderingKey...))
	return int(uint64(binary.BigEndian.Uint32(sum[:])) * 100 >> 32)
}

// Takes reports whether the gate takes the events of an ordering key at a percentage. A key that it takes at one it takes at every
// higher one too.
func Takes(orderingKey string, percent int) bool { return bucket(orderingKey) < percent }
