package redis

import (
	"strconv"

	"github.com/hookgate/hookgate"
)

// keys are the names of a queue's keys. The text in braces decides on which node of a cluster a key
// is, so all keys of one partition are on one node:
//
//	hookgate:{7}:log           stream   entries of partition 7: field r is queue/wire's encoding;
//	                                    field of, in a duplicate, the first request's id (16 bytes)
//	hookgate:{7}:claim:<hash>  string   request id (16 bytes) and id of its entry; lives for ClaimTTL
//	hookgate:{7}:lease         string   owner/number/run id of the server; lives for LeaseTTL
//	hookgate:{7}:leases        string   number of the last lease
//	hookgate:{7}:probe         string   written while writes fail, to test whether they work again
//	hookgate:{meta}:members    zset     readers, by the time of their last heartbeat (ms since 1970)
//	hookgate:{meta}:settings   hash     mode, canary (its version, a space, JSON): see control/settings;
//	                                    partitions (their number), store (its mark: see store.go),
//	                                    claims (the current generation; none means 0),
//	                                    replaced (when that began)
//
// <hash> is Identity.Hash. In a generation of claims above 0, that number and a colon precede it.
type keys struct {
	log, claim, lease, leases, probe []string // by partition; claim without the hash
	members, settings                string
}

func newKeys(prefix string, partitions int) *keys {
	k := &keys{members: prefix + ":{meta}:members", settings: prefix + ":{meta}:settings"}
	for p := range partitions {
		base := prefix + ":{" + strconv.Itoa(p) + "}:"
		k.log = append(k.log, base+"log")
		k.claim = append(k.claim, base+"claim:")
		k.lease = append(k.lease, base+"lease")
		k.leases = append(k.leases, base+"leases")
		k.probe = append(k.probe, base+"probe")
	}
	return k
}

// appendClaim appends to dst the key of a request's claim in a generation of claims.
func (k *keys) appendClaim(dst []byte, partition int, generation int64,
	d *hookgate.Request) []byte {
	hash := d.Claim().Hash()
	dst = append(dst, k.claim[partition]...)
	if generation > 0 {
		dst = append(strconv.AppendInt(dst, generation, 10), ':')
	}
	return append(dst, hash[:]...)
}
